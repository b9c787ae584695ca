"""Tables in several files, as Spark, pandas and exports by month write them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.finetune.labels import read_labels
from pragmatiq_builder.raw import count_rows, read_events
from pragmatiq_builder.raw.parts import table_hash
from pragmatiq_builder.raw.records import read_records
from pragmatiq_builder.raw.validation import ValidationReport, validate
from pragmatiq_triton.errors import DataError
from tests.builder.raw.layouts import base, put, repeat, write_tables


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The base's profiles and labels; a test writes the events."""
    tables = base()
    tables.pop("events")
    write_tables(tmp_path, tables)
    return tmp_path


@pytest.fixture
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("one_file")
    write_tables(folder, base())
    return list(read_records(folder))


def write_part(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def rows(*numbers: int) -> pa.Table:
    return repeat(base()["events"], list(numbers))


def by_user(records: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: record["user_id"])


def refusal(data: Path) -> str:
    with pytest.raises(DataError) as error:
        list(read_records(data))
    report = validate(data)
    assert not report.ok
    assert report.errors[0].what in str(error.value)
    return str(error.value)


def told(report: ValidationReport) -> list[str]:
    """The warnings, but for that of the one event without fields, which these data have on purpose."""
    return [each.what for each in report.warnings if not each.what.startswith("events have no field whose value")]


def test_a_spark_folder_is_read_and_its_own_files_are_passed_over(data: Path, expected: list[dict[str, Any]]) -> None:
    folder = data / "events.parquet"
    write_part(folder / "part-00000-0a1b.c000.snappy.parquet", rows(3, 4))
    write_part(folder / "part-00001-0a1b.c000.snappy.parquet", rows(0, 1, 2))
    for name in ("_SUCCESS", "_metadata", "_common_metadata", ".part-00000.crc", "._SUCCESS.crc"):
        (folder / name).write_bytes(b"")
    assert by_user(read_records(data)) == expected
    report = validate(data)
    assert (report.errors, told(report), report.events) == ([], [], 5)
    assert count_rows(data, "events") == 5
    assert tokenize(data, data / "tok").events == 5


@pytest.mark.parametrize("folder", ["events", "events.parquet"])
def test_a_user_s_months_are_merged_in_the_order_of_time(
    data: Path, folder: str, expected: list[dict[str, Any]]
) -> None:
    write_part(data / folder / "date=2022-01-10" / "a.parquet", rows(2, 4))
    write_part(data / folder / "date=2022-01-08" / "a.parquet", rows(0, 3))
    write_part(data / folder / "date=2022-01-09" / "a.parquet", rows(1))
    assert list(read_records(data)) == expected
    report = validate(data)
    assert report.errors == []
    assert told(report) == ["not columns of the contract, and not read: date"]
    assert (report.users, report.events) == (2, 5)


def test_integer_users_are_merged_in_their_own_order(data: Path, expected: list[dict[str, Any]]) -> None:
    for name, table in (("a", rows(0, 3)), ("b", rows(1, 2, 4))):
        users = [{"17": 9, "42": 17}[user] for user in table["user_id"].to_pylist()]
        write_part(data / "events" / f"{name}.parquet", put(table, "user_id", users, pa.int32()))
    (data / "profiles.parquet").unlink()
    records = list(read_records(data))
    assert [record["user_id"] for record in records] == ["9", "17"]
    assert [record["events"] for record in records] == [record["events"] for record in expected]


def test_merging_keeps_few_rows_and_loses_none(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    n_parts, most = 7, 0
    wanted: dict[str, list[int]] = {}
    for part in range(n_parts):
        users = np.sort(rng.integers(0, 400, 3_000))
        ts = rng.integers(10**15, 10**15 + 10**12, 3_000)
        for user, at in zip(users.tolist(), ts.tolist(), strict=True):
            wanted.setdefault(f"u{user:03d}", []).append(at)
        columns = {
            "user_id": pa.array([f"u{user:03d}" for user in users]),
            "ts": pa.array(ts, pa.timestamp("us")),
            "source": pa.array(["s"] * 3_000),
            "fields": pa.array([[]] * 3_000, pa.map_(pa.string(), pa.string())),
        }
        write_part(data / "events" / f"{part}.parquet", pa.table(columns))
    got: dict[str, list[int]] = {}
    for chunk in read_events(data, 1_024):
        most = max(most, len(chunk.ts))
        starts = np.cumsum(chunk.event_counts)[:-1]
        for user, at in zip(chunk.user_ids, np.split(chunk.ts, starts), strict=True):
            assert user not in got
            got[user] = at.tolist()
    assert got == {user: sorted(at) for user, at in wanted.items()}
    assert most <= n_parts * 1_024 + 3_000


def test_users_in_several_parts_that_are_not_sorted_are_refused_with_the_remedy(data: Path) -> None:
    write_part(data / "events" / "a.parquet", rows(3, 4, 0))
    write_part(data / "events" / "b.parquet", rows(1, 2))
    assert list(read_records(data))
    write_part(data / "events" / "b.parquet", rows(3, 1, 2))
    line = refusal(data)
    assert line.startswith(f"{data / 'events' / 'b.parquet'}: row 0: user comes back")
    assert "sort the rows by user_id, ts, in each part, or write one file" in line


def test_a_source_may_be_told_by_its_folder(data: Path, expected: list[dict[str, Any]]) -> None:
    write_part(data / "events" / "source=app" / "a.parquet", rows(0, 2).drop(["source"]))
    write_part(data / "events" / "source=card" / "a.parquet", rows(1, 3, 4).drop(["source"]))
    assert list(read_records(data)) == expected
    write_part(data / "events" / "source=a%20%2F%20b" / "a.parquet", rows(0).drop(["source"]))
    assert {event["source"] for record in read_records(data) for event in record["events"]} == {"app", "card", "a / b"}


def test_a_time_cannot_be_told_by_a_folder(data: Path) -> None:
    write_part(data / "events" / "ts=2022-01-10" / "a.parquet", rows(0, 3).drop(["ts"]))
    assert "ts is told by a folder's name, expected a column" in refusal(data)


def test_parts_of_different_types_mean_the_same(data: Path, expected: list[dict[str, Any]]) -> None:
    write_part(data / "events" / "a.parquet", put(rows(0, 1, 2), "user_id", [17] * 3, pa.int64()))
    dictionary = rows(3, 4)["fields"].combine_chunks()
    maps = pa.MapArray.from_arrays(dictionary.offsets, dictionary.keys.dictionary_encode(), dictionary.items)
    write_part(data / "events" / "b.parquet", put(rows(3, 4), "fields", maps))
    assert list(read_records(data)) == expected


def test_profiles_and_labels_may_be_folders_too(data: Path, expected: list[dict[str, Any]]) -> None:
    write_part(data / "events.parquet", base()["events"])
    for name in ("profiles", "labels/churn"):
        (data / f"{name}.parquet").unlink()
        for part in (0, 1):
            write_part(data / f"{name}.parquet" / f"part-{part}.parquet", repeat(base()[name], [part]))
    assert list(read_records(data)) == expected
    report = validate(data)
    assert (report.errors, report.labels, report.profiles) == ([], {"churn": 2}, 2)
    tokenize(data, data / "tok")
    rows = read_labels(data / "labels" / "churn.parquet", TokenizedDataset(data / "tok"))
    assert rows.labels.tolist() == [1, 0]
    folder = data / "labels" / "churn.parquet"
    before = table_hash(folder)
    write_part(folder / "part-1.parquet", repeat(base()["labels/churn"], [0]))
    assert table_hash(folder) != before


@pytest.mark.parametrize("name", ["with space", "Umlaut-ü", "R[/x]", "100%", "'quoted'"])
def test_folders_of_any_name_are_read(data: Path, name: str, expected: list[dict[str, Any]]) -> None:
    strange = data / name
    write_part(strange / "events" / f"{name}.parquet", base()["events"])
    write_part(strange / "profiles.parquet", base()["profiles"])
    assert list(read_records(strange)) == expected
    assert validate(strange).errors == []


def test_links_are_followed_and_broken_or_endless_ones_are_named(data: Path, expected: list[dict[str, Any]]) -> None:
    write_part(data / "elsewhere" / "part.parquet", base()["events"])
    (data / "events.parquet").symlink_to(data / "elsewhere")
    assert list(read_records(data)) == expected
    (data / "elsewhere" / "again").symlink_to(data / "elsewhere")
    assert "link to a folder that it is in" in refusal(data)
    (data / "elsewhere" / "again").unlink()
    (data / "elsewhere" / "part.parquet").unlink()
    (data / "elsewhere" / "part.parquet").symlink_to("nowhere")
    assert "a link to nothing" in refusal(data)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("notes.txt", "expected nothing but parquet files in this folder"),
        ("_temporary/0", "has not ended well"),
        ("_delta_log/00000000000000000000.json", "is a Delta Lake table"),
        ("metadata/v1.metadata.json", "is a Iceberg table"),
        (".hoodie/hoodie.properties", "is a Hudi table"),
        ("part-1.parquet", "part-1.parquet: cannot be read as Parquet"),
        ("part-1", "part-1: cannot be read as Parquet"),
    ],
)
def test_what_is_in_the_folder_by_mistake_is_named(data: Path, entry: str, message: str) -> None:
    write_part(data / "events" / "part-0.parquet", base()["events"])
    (data / "events" / entry).parent.mkdir(parents=True, exist_ok=True)
    (data / "events" / entry).write_text("not parquet", encoding="utf-8")
    assert message in refusal(data)


def test_a_file_and_a_folder_of_one_table_are_refused(data: Path) -> None:
    write_part(data / "events.parquet", base()["events"])
    write_part(data / "events" / "part.parquet", base()["events"])
    assert "events.parquet and events/ are both here" in refusal(data)


def test_an_empty_folder_and_a_pipe_are_no_tables(data: Path) -> None:
    (data / "events").mkdir()
    assert "got a folder without any" in refusal(data)
    (data / "events").rmdir()
    os.mkfifo(data / "events.parquet")
    assert "no regular file" in refusal(data)


DAMAGES = {
    "no bytes": lambda raw: b"",
    "a head alone": lambda raw: raw[:100],
    "no tail": lambda raw: raw[:-7],
    "a page of zeros": lambda raw: raw[:4] + bytes(80) + raw[84:],
    "a footer of zeros": lambda raw: raw[:-400] + bytes(380) + raw[-20:],
    "text": lambda raw: b"user_id,ts,source\n1,2,3\n",
    "an encrypted footer": lambda raw: b"PARE" + raw[4:-4] + b"PARE",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("table", ["events", "profiles"])
def test_damage_is_one_line_that_names_the_file(data: Path, table: str, damage: str) -> None:
    write_part(data / "events.parquet", base()["events"])
    path = data / f"{table}.parquet"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    line = refusal(data)
    assert line.startswith(f"{path}: cannot be read")
    assert "\n" not in line


def test_a_page_whose_checksum_is_wrong_is_refused(data: Path) -> None:
    path = data / "events.parquet"
    pq.write_table(base()["events"], path, write_page_checksum=True, compression="none", use_dictionary=False)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"12.5", b"19.5", 1))
    assert "cannot be read after row 0" in refusal(data)


def test_any_flipped_byte_is_read_or_refused_in_one_line(data: Path) -> None:
    write_part(data / "events.parquet", base()["events"])
    path = data / "events.parquet"
    whole = path.read_bytes()
    rng = np.random.default_rng(11)
    refused = []
    for at in rng.choice(len(whole), 80, replace=False).tolist():
        damaged = bytearray(whole)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            list(read_records(data))
        except DataError as error:
            refused.append(str(error))
            report = validate(data)
            if report.ok:
                refused.append(f"validate takes byte {at}")
    assert len(refused) > 10
    assert [line for line in refused if "\n" in line or not line.startswith(str(path))] == []
