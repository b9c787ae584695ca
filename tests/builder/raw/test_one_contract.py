"""What one command takes all take; what is refused is refused by all, in the same line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.export.warm import warm
from pragmatiq_builder.finetune.labels import read_labels
from pragmatiq_builder.raw.records import read_records, write_records
from pragmatiq_builder.raw.validation import validate
from pragmatiq_builder.runs import load_run
from pragmatiq_triton.errors import DataError
from tests.builder.raw.layouts import LAYOUTS, Layout, base, write_tables
from tests.conftest import UPSTREAM


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("contract") / "repository"
    export_repository(load_run(UPSTREAM / "bpe" / "run"), out)
    return out


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("base")
    write_tables(folder, base())
    return list(read_records(folder))


def refusal(work: Callable[[], object]) -> str | None:
    try:
        work()
    except DataError as error:
        return str(error)
    return None


def tokens(data: Path, out: Path) -> TokenizedDataset:
    tokenize(data, out)
    return TokenizedDataset(out)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_command_says_the_same(
    layout: Layout, tmp_path: Path, repository: Path, expected: list[dict[str, object]]
) -> None:
    data = tmp_path / "raw"
    layout.write(data)
    report = validate(data)
    lines = [
        refusal(lambda: tokenize(data, tmp_path / "tok")),
        refusal(lambda: write_records(data, tmp_path / "records.jsonl")),
        refusal(lambda: warm(repository, data, tmp_path / "cache")),
    ]
    assert lines[0] == lines[1] == lines[2]
    if layout.refused is not None:
        assert layout.refused in str(lines[0])
        assert "\n" not in str(lines[0])
        assert not report.ok
        first = report.errors[0]
        assert str(lines[0]).startswith(str(data / first.file))
        assert first.what in str(lines[0])
        return
    assert (lines[0], report.errors) == (None, [])
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_bytes().splitlines()]
    if layout.same:
        assert records == expected
    dataset = TokenizedDataset(tmp_path / "tok")
    assert dataset.user_ids == [record["user_id"] for record in records]
    assert refusal(lambda: read_labels(data / "labels" / "churn.parquet", dataset)) is None


def test_values_of_all_types_are_written_as_a_record_would(tmp_path: Path) -> None:
    (layout,) = [layout for layout in LAYOUTS if layout.name == "a struct of every scalar"]
    layout.write(tmp_path)
    (event, *_) = next(iter(read_records(tmp_path)))["events"]
    assert event["fields"] == {"b": "True", "d": "2024-01-02", "t": "2024-01-02T03:00:00", "n": "10.50", "i": "3"}


def test_users_who_only_have_a_profile_are_records_too(tmp_path: Path) -> None:
    tables = base()
    tables["events"] = tables["events"].slice(0, 3)
    write_tables(tmp_path, tables)
    records = list(read_records(tmp_path))
    assert [(record["user_id"], len(record["events"])) for record in records] == [("17", 3), ("42", 0)]
    assert tokens(tmp_path, tmp_path / "tok").user_ids == ["17", "42"]


def test_null_is_the_newest_event_s_time_as_0_is_in_a_record(tmp_path: Path) -> None:
    (layout,) = [layout for layout in LAYOUTS if layout.name == "as_of null"]
    layout.write(tmp_path / "raw")
    assert next(record["as_of"] for record in read_records(tmp_path / "raw")) == 0
    np.testing.assert_array_equal(
        np.load(tokens(tmp_path / "raw", tmp_path / "tok").folder / "profile_as_of.npy")[0], 0
    )
