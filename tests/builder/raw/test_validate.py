import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder import raw
from pragmatiq_builder.dataset.field_table import FieldTable
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.raw.validation import ValidationReport, validate
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange
from tests.builder.counting import Counting

HOUR = 3_600_000_000
FIELDS = pa.map_(pa.string(), pa.string())
MILESTONES = pa.list_(pa.struct({"key": pa.string(), "ts": pa.timestamp("us")}))
TYPES = {
    "user_id": pa.string(),
    "ts": pa.timestamp("us"),
    "as_of": pa.timestamp("us"),
    "eval_ts": pa.timestamp("us"),
    "source": pa.string(),
    "fields": FIELDS,
    "attributes": FIELDS,
    "lifelong": MILESTONES,
    "label": pa.int8(),
}
Columns = dict[str, list[Any]]


class Folder:
    """A small raw data folder whose columns a test damages before it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.types: dict[str, pa.DataType] = dict(TYPES)
        self.files: dict[str, Columns] = {
            "events": {
                "user_id": ["a", "a", "a", "b", "b"],
                "ts": [HOUR, 2 * HOUR, 3 * HOUR, HOUR, 5 * HOUR],
                "source": ["app", "transaction", "app", "app", "transaction"],
                "fields": [
                    [("screen", "home")],
                    [("amount", "1"), ("mcc", "5411")],
                    [("screen", "help")],
                    [("screen", "cards")],
                    [("amount", "7")],
                ],
            },
            "profiles": {
                "user_id": ["a", "b", "c"],
                "as_of": [8 * HOUR, 9 * HOUR, 9 * HOUR],
                "attributes": [[("country", "GB")], [], []],
                "lifelong": [[("opened", -HOUR), ("moved", HOUR)], [], [("opened", 0)]],
            },
            "labels/churn": {
                "user_id": ["a", "a", "b"],
                "eval_ts": [2 * HOUR, 3 * HOUR, 6 * HOUR],
                "label": [0, 1, 0],
            },
        }

    def __getitem__(self, file: str) -> Columns:
        return self.files[file]

    def __setitem__(self, file: str, columns: Columns) -> None:
        self.files[file] = columns

    def write(self) -> Path:
        for name, columns in self.files.items():
            path = self.path / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            kinds = {column: self.types.get(f"{name}.{column}", self.types[column]) for column in columns}
            table = pa.table({column: pa.array(values, kinds[column]) for column, values in columns.items()})
            pq.write_table(table, path, row_group_size=2)
        return self.path

    def validate(self) -> ValidationReport:
        return validate(self.write(), times=TimeRange(0))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_good_data(folder: Folder) -> None:
    report = folder.validate()
    assert (report.errors, report.warnings) == ([], [])
    assert report.ok
    assert (report.users, report.events, report.profiles) == (2, 5, 3)
    assert report.sources == {"app": 3, "transaction": 2}
    assert report.keys == {"screen": 3, "amount": 2, "mcc": 1}
    assert report.labels == {"churn": 3}
    assert (report.first_ts, report.last_ts) == (HOUR, 5 * HOUR)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("string", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_other_types_of_the_same_meaning(folder: Folder, unit: str, string: pa.DataType) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    folder.types |= {"user_id": string, "source": string, "ts": pa.timestamp(unit, "UTC"), "label": pa.float64()}
    folder["events"]["ts"] = [t * per_second // 10**6 for t in folder["events"]["ts"]]
    report = folder.validate()
    assert (report.errors, report.warnings) == ([], [])
    assert report.sources == {"app": 3, "transaction": 2}
    assert (report.first_ts, report.last_ts) == (HOUR, 5 * HOUR)


YEAR_10000 = 253_402_300_800 * 10**6
DAMAGES: list[tuple[str, str, int, Any, str]] = [
    ("events", "user_id", 1, None, "user_id is null"),
    ("events", "ts", 3, None, "ts is null"),
    ("events", "ts", 3, -1, "ts is before 1970-01-01"),
    ("events", "ts", 4, YEAR_10000, "ts is after 9999-12-31"),
    ("profiles", "user_id", 2, None, "user_id is null"),
    ("profiles", "user_id", 2, "a", "second profile of a user; expected one row per user"),
    ("profiles", "lifelong", 1, [("opened", -12 * 10**15)], "a lifelong ts is before 1600-01-01"),
    ("profiles", "as_of", 1, -5, "as_of is before 1970-01-01"),
    ("profiles", "as_of", 2, YEAR_10000, "as_of is after 9999-12-31"),
    ("profiles", "lifelong", 2, [("opened", 1), (None, 2)], "lifelong holds a key that is null"),
    ("profiles", "lifelong", 1, [("opened", None)], "a lifelong ts is null"),
    ("profiles", "lifelong", 2, [("opened", YEAR_10000)], "a lifelong ts is after 9999-12-31"),
    ("labels/churn", "user_id", 2, None, "user_id is null, expected a string or an integer"),
    (
        "labels/churn",
        "eval_ts",
        1,
        2 * HOUR,
        "second row of a user_id and eval_ts, with another label; expected one of them",
    ),
    ("labels/churn", "eval_ts", 0, -HOUR, "eval_ts is before 1970-01-01"),
    ("labels/churn", "label", 1, 2, "label is neither 0 nor 1"),
]


@pytest.mark.parametrize(("file", "column", "row", "value", "what"), DAMAGES, ids=lambda value: str(value)[:40])
def test_one_damaged_cell(folder: Folder, file: str, column: str, row: int, value: Any, what: str) -> None:
    folder[file][column][row] = value
    found = next(finding for finding in folder.validate().errors if finding.what.startswith(what))
    assert found.file == f"{file}.parquet"
    assert found.count == 1
    assert found.example is not None
    assert found.example["row"] == row


ODDITIES: list[tuple[str, str, int, Any, str]] = [
    ("events", "source", 4, None, "source is null; it is read as the empty string"),
    ("events", "fields", 3, None, "fields is null; it is read as no fields"),
    ("labels/churn", "user_id", 1, "stranger", "user is in neither events nor profiles; the row is skipped"),
    ("labels/churn", "label", 2, None, "label is null or NaN; the row is skipped"),
]


@pytest.mark.parametrize(("file", "column", "row", "value", "what"), ODDITIES, ids=lambda value: str(value)[:40])
def test_what_is_put_up_with_is_a_warning(
    folder: Folder, file: str, column: str, row: int, value: Any, what: str
) -> None:
    folder[file][column][row] = value
    report = folder.validate()
    assert report.ok
    # An event without fields is counted by its source as well, which has a test of its own.
    (finding,) = [each for each in report.warnings if not each.what.startswith("events have no field")]
    assert (finding.file, finding.what, finding.count) == (f"{file}.parquet", what, 1)
    assert finding.example is not None
    assert finding.example["row"] == row


def test_labels_that_are_said_twice_are_a_warning(folder: Folder) -> None:
    folder["labels/churn"]["eval_ts"], folder["labels/churn"]["label"] = [2 * HOUR] * 3, [1, 1, 0]
    report = folder.validate()
    assert report.ok
    assert [finding.what for finding in report.warnings] == ["second row of a user_id and eval_ts; the row is skipped"]


def test_parts_of_labels_are_checked(folder: Folder) -> None:
    folder.types["split"] = pa.string()
    folder["labels/churn"]["split"] = ["train", "validation", "test"]
    report = folder.validate()
    assert (report.errors, report.warnings) == ([], [])
    folder["labels/churn"]["split"] = ["train", None, "Test"]
    report = folder.validate()
    (finding,) = report.errors
    assert (finding.what, finding.count) == ("split is none of train, validation, calibration, test", 1)
    assert [each.what for each in report.warnings] == ["split is null; the row is skipped"]


def test_a_row_in_two_parts_is_an_error(folder: Folder) -> None:
    folder.types["split"] = pa.string()
    folder["labels/churn"].update(user_id=["a", "a", "b"], eval_ts=[2 * HOUR, 2 * HOUR, 6 * HOUR], label=[1, 1, 0])
    folder["labels/churn"]["split"] = ["train", "test", "test"]
    (finding,) = folder.validate().errors
    assert (
        finding.what == "second row of a user_id and eval_ts, in another part of the column split; expected one of them"
    )


def test_parts_in_some_files_of_labels_alone_are_an_error(folder: Folder) -> None:
    folder.write()
    file = folder.path / "labels" / "churn.parquet"
    table = pq.read_table(file)
    file.unlink()
    file.mkdir()
    pq.write_table(table, file / "a.parquet")
    pq.write_table(table.append_column("split", pa.array(["train"] * len(table))), file / "b.parquet")
    found = [finding.line() for finding in validate(folder.path).errors]
    assert any("some of its files have the column split and some have not" in line for line in found), found


def test_labels_of_nobody_here_are_an_error(folder: Folder) -> None:
    folder["labels/churn"]["user_id"] = ["x", "y", "z"]
    (finding,) = folder.validate().errors
    assert (finding.what, finding.count) == ("user is in neither events nor profiles, in every row", 3)


def test_labels_before_any_event_of_their_user_are_a_warning(folder: Folder) -> None:
    """User c has a profile and no event; at the time of the first event nothing lies before it yet."""
    folder["labels/churn"].update(user_id=["a", "a", "b", "c"], eval_ts=[2 * HOUR, HOUR, 2 * HOUR, 9 * HOUR],
                                  label=[0, 1, 0, 1])  # fmt: skip
    report = folder.validate()
    assert report.ok
    (finding,) = report.warnings
    assert finding.what.startswith("no event of the user before eval_ts")
    assert finding.what.endswith("the row is skipped")
    assert (finding.count, (finding.example or {})["row"]) == (2, 1)


def test_labels_that_all_lie_before_any_event_are_an_error_as_in_finetune(folder: Folder) -> None:
    folder["labels/churn"]["eval_ts"] = [HOUR, HOUR - 1, HOUR]
    (finding,) = folder.validate().errors
    assert finding.what.startswith("no event of the user before eval_ts")
    assert finding.what.endswith("in every row")
    assert finding.count == 3


def test_a_profile_needs_no_more_than_its_user(folder: Folder) -> None:
    folder["profiles"].update(as_of=[None] * 3, attributes=[None] * 3, lifelong=[None] * 3)
    report = folder.validate()
    assert (report.errors, report.warnings) == ([], [])
    for column in ("as_of", "attributes", "lifelong"):
        del folder["profiles"][column]
    report = folder.validate()
    assert (report.errors, report.warnings, report.profiles) == ([], [], 3)


@pytest.mark.parametrize("label", [float("nan"), 0.5])
def test_labels_that_are_floats(folder: Folder, label: float) -> None:
    folder.types["label"] = pa.float32()
    folder["labels/churn"]["label"][0] = label
    report = folder.validate()
    (finding,) = report.errors or report.warnings
    assert finding.count == 1
    assert report.ok == ("NaN" in finding.what) == (label != label)


def test_a_user_who_comes_back(folder: Folder) -> None:
    folder["events"]["user_id"] = ["a", "b", "b", "a", "b"]
    (finding,) = folder.validate().errors
    assert "comes back" in finding.what
    assert finding.count == 2
    assert finding.example == {"row": 3, "user_id": "a", "ts": HOUR, "source": "app"}


def test_unordered_events_are_a_warning(folder: Folder) -> None:
    folder["events"]["ts"] = [3 * HOUR, 2 * HOUR, HOUR, 7 * HOUR, 5 * HOUR]
    report = folder.validate()
    assert report.ok
    (finding,) = report.warnings
    assert "earlier" in finding.what
    assert finding.count == 3
    assert finding.example is not None
    assert finding.example["row"] == 1


def test_order_and_grouping_across_batches(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw.read_events, "__defaults__", (1, *raw.read_events.__defaults__[1:]))
    assert folder.validate().to_dict()["warnings"] == []
    folder["events"]["user_id"] = ["a", "a", "b", "b", "a"]
    folder["events"]["ts"] = [2 * HOUR, HOUR, 3 * HOUR, 3 * HOUR, HOUR]
    report = folder.validate()
    assert [(finding.count, (finding.example or {})["row"]) for finding in report.errors] == [(1, 4)]
    assert [(finding.count, (finding.example or {})["row"]) for finding in report.warnings] == [(1, 1)]


def test_null_users_are_not_one_user(folder: Folder) -> None:
    folder["events"]["user_id"] = [None, "a", None, "b", "b"]
    report = folder.validate()
    assert [(finding.what, finding.count) for finding in report.errors] == [("user_id is null", 2)]
    assert report.users == 2


def test_users_without_a_profile_are_a_warning(folder: Folder) -> None:
    folder["profiles"]["user_id"] = ["a", "d", "c"]
    report = folder.validate()
    assert report.ok
    assert [(finding.count, finding.example) for finding in report.warnings] == [(1, {"user_id": "b"})]


def test_profiles_of_other_users_alone_are_an_error(folder: Folder) -> None:
    folder["profiles"]["user_id"] = ["00a", "00b", "00c"]
    (finding,) = folder.validate().errors
    assert "the events have users such as 'a', the profiles such as '00a'" in finding.what
    folder["profiles"] = {name: [] for name in folder["profiles"]}
    assert folder.validate().ok


def test_a_moment_of_judgement_before_the_newest_event_is_a_warning(folder: Folder) -> None:
    folder["profiles"]["as_of"] = [3 * HOUR - 1, 5 * HOUR, HOUR]
    (finding,) = folder.validate().warnings
    assert "as_of is before the user's newest event" in finding.what
    assert (finding.count, finding.example) == (
        1,
        {"user_id": "a", "as_of": 3 * HOUR - 1, "newest_ts": 3 * HOUR},
    )


def test_labels_long_after_the_data_are_a_warning(folder: Folder) -> None:
    month = 31 * 24 * HOUR
    folder["labels/churn"]["eval_ts"] = [5 * HOUR + month, 5 * HOUR + month + 1, 2 * HOUR]
    (finding,) = folder.validate().warnings
    assert "more than 31 days after the newest event" in finding.what
    assert (finding.count, (finding.example or {})["row"]) == (1, 1)


@pytest.mark.parametrize(("file", "column", "row"), [("events", "ts", 4), ("profiles", "as_of", 1)])
def test_times_in_the_future_are_a_warning(folder: Folder, file: str, column: str, row: int) -> None:
    folder[file][column][row] = 253_402_214_400_000_000
    found = [finding for finding in folder.validate().warnings if "lies in the future" in finding.what]
    assert [(finding.what.split()[0], finding.count, (finding.example or {})["row"]) for finding in found] == [
        (column, 1, row)
    ]


@pytest.mark.parametrize("file", ["events", "profiles", "labels/churn"])
def test_a_missing_column(folder: Folder, file: str) -> None:
    for column in ["user_id"] if file == "profiles" else list(folder[file]):
        kept = folder[file].pop(column)
        report = folder.validate()
        (finding, *_) = [*report.errors, *report.warnings]
        assert finding.file == f"{file}.parquet"
        assert column in finding.what
        folder[file][column] = kept


@pytest.mark.parametrize(
    ("file", "column", "values", "kind"),
    [
        ("events", "user_id", [1.0, 2.0, 3.0, 4.0, 5.0], pa.float64()),
        ("events", "ts", [1, 2, 3, 4, 5], pa.int64()),
        ("events", "fields", ["{}"] * 5, pa.string()),
        ("profiles", "lifelong", [["x"]] * 3, pa.list_(pa.string())),
        ("labels/churn", "label", ["0", "1", "0"], pa.string()),
    ],
)
def test_a_column_of_the_wrong_type(
    folder: Folder, file: str, column: str, values: list[Any], kind: pa.DataType
) -> None:
    folder[file][column] = values
    folder.types[f"{file}.{column}"] = kind
    finding = next(finding for finding in folder.validate().errors if finding.file == f"{file}.parquet")
    assert finding.what.startswith(f"column {column} is ")
    assert "expected" in finding.what


@pytest.mark.parametrize("time", ["eval_ts", "ts"])
@pytest.mark.parametrize(
    ("column", "values", "kind", "expected"),
    [
        (None, ["2025-01-30", "2025-01-31", "2025-02-01"], pa.string(), "is string, expected a timestamp or a date"),
        ("user_id", [1.0, 2.0, 3.0], pa.float64(), "is double, expected a string or an integer"),
        ("label", ["yes", "no", "no"], pa.string(), "is string, expected a number, 0 or 1"),
    ],
)
def test_labels_of_an_unreadable_column_have_that_error_alone(
    folder: Folder, time: str, column: str | None, values: list[Any], kind: pa.DataType, expected: str
) -> None:
    """Without it the rows would all look alike: repeats of one another, with other labels."""
    labels = in_true_times(folder)["labels/churn"]
    labels[time] = labels.pop("eval_ts")[:1] * 3
    labels[column or time] = values
    folder.types[f"labels/churn.{column or time}"] = kind
    report = validate(folder.write())
    (finding,) = report.errors
    assert finding.file == "labels/churn.parquet"
    assert finding.what.startswith(f"column {column or time} {expected}")
    assert report.warnings == []


def test_labels_of_events_none_of_which_can_be_used_are_no_crash(folder: Folder) -> None:
    labels = in_true_times(folder)["labels/churn"]
    labels.update(ts=labels.pop("eval_ts"), user_id=["x", "y", "z"], label=[None] * 3)
    report = validate(folder.write())
    assert [finding.what for finding in report.errors] == ["user is in neither events nor profiles, in every row"]
    assert [finding.what for finding in report.warnings] == ["label is null or NaN; the row is skipped"]


def test_labels_of_single_events_have_ts(folder: Folder) -> None:
    folder["labels/churn"]["ts"] = folder["labels/churn"].pop("eval_ts")
    assert folder.validate().ok


def test_files_that_are_missing_or_no_parquet(folder: Folder) -> None:
    data = folder.write()
    (data / "profiles.parquet").unlink()
    (data / "labels" / "churn.parquet").write_bytes(b"PAR1 not really")
    report = validate(data, times=TimeRange(0))
    assert [finding.file for finding in report.errors] == ["labels/churn.parquet"]
    assert report.events == 5
    (data / "events.parquet").unlink()
    assert [finding.file for finding in validate(data).errors] == ["events.parquet", "labels/churn.parquet"]


def test_damage_inside_a_file(folder: Folder) -> None:
    path = folder.write() / "events.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[4:60] = bytes(56)
    path.write_bytes(damaged)
    report = validate(folder.path)
    assert any(finding.file == "events.parquet" and "cannot be read" in finding.what for finding in report.errors)


def test_files_without_rows(folder: Folder) -> None:
    for columns in folder.files.values():
        for values in columns.values():
            values.clear()
    report = folder.validate()
    assert [(finding.file, finding.what) for finding in report.errors] == [
        ("events.parquet", "has no events, expected at least one"),
        ("labels/churn.parquet", "has no rows"),
    ]
    assert (report.events, report.first_ts, report.labels) == (0, None, {})


def test_the_report_as_json(folder: Folder) -> None:
    folder["events"]["ts"][2] = None
    report = json.loads(json.dumps(folder.validate().to_dict()))
    assert report["ok"] is False
    example = {"row": 2, "user_id": "a", "ts": None, "source": "app"}
    assert report["errors"] == [{"file": "events.parquet", "what": "ts is null", "count": 1, "example": example}]


def test_progress_reaches_all_rows(folder: Folder) -> None:
    progress = Counting()
    validate(folder.write(), progress)
    assert progress.total == sum(progress.steps) == 11


NOW = 1_738_245_371
"""Seconds."""


def in_true_times(folder: Folder) -> Folder:
    """The same folder half a century later."""
    for columns in folder.files.values():
        for name in set(columns) & {"ts", "as_of", "eval_ts"}:
            columns[name] = [NOW * 10**6 + ts for ts in columns[name]]
    return folder


@pytest.mark.parametrize(
    ("file", "column", "where"), [("events", "ts", "ts"), ("profiles", "as_of", "as_of"),
    ("labels/churn", "eval_ts", "eval_ts"), ("profiles", "lifelong", "a lifelong ts")],
)  # fmt: skip
@pytest.mark.parametrize(
    ("read_as", "per_second", "unit"),
    [("us", 1, "seconds"), ("us", 10**3, "milliseconds"), ("us", 10**9, "nanoseconds"), ("ns", 1, "seconds"),
     ("ns", 10**3, "milliseconds"), ("ns", 10**6, "microseconds"), ("ms", 10**6, "microseconds"), ("ms", 1, "seconds")],
)  # fmt: skip
def test_columns_of_numbers_read_in_a_wrong_unit_are_refused_and_the_unit_is_named(
    folder: Folder, file: str, column: str, where: str, read_as: str, per_second: int, unit: str
) -> None:
    in_true_times(folder)
    assert validate(folder.write()).ok
    number = NOW * per_second + (per_second > 1)
    kind = pa.timestamp(read_as, "UTC")
    if column == "lifelong":
        folder.types[column] = pa.list_(pa.struct({"key": pa.string(), "ts": kind}))
        folder[file][column] = [[("opened", number)]] * 3
    else:
        folder.types[f"{file}.{column}"] = kind
        folder[file][column] = [number + i for i in range(len(folder[file][column]))]
    findings = validate(folder.write()).errors
    assert sum(finding.count for finding in findings) == len(folder[file][column])
    assert all(finding.what.startswith(f"{where} is ") for finding in findings)
    assert all(finding.what.endswith(f"; it looks like {unit}") for finding in findings)


def test_one_event_of_many_in_another_unit_is_found(folder: Folder) -> None:
    in_true_times(folder)["events"]["ts"][3] = NOW * 1000
    report = validate(folder.write())
    (finding,) = report.errors
    assert (finding.what, finding.count) == ("ts is before 1971-01-01; it looks like milliseconds", 1)
    assert finding.example is not None
    assert (finding.example["row"], finding.example["ts"]) == (3, NOW * 1000)
    assert report.first_ts == NOW * 10**6 + HOUR
    assert report.to_dict()["first_event"] == "2025-01-30T14:56:11.000000Z"


def test_a_date_of_birth_in_1955_is_fine_and_an_as_of_then_is_not(folder: Folder) -> None:
    born = -473_385_600_000_000
    in_true_times(folder)["profiles"]["lifelong"][0] = [("born", born), ("founded", -11 * 10**15)]
    assert validate(folder.write()).ok
    folder["profiles"]["as_of"][1] = born
    assert [finding.what for finding in validate(folder.write()).errors] == ["as_of is before 1971-01-01"]


def test_times_are_held_to_those_that_a_tokenizer_was_fitted_on(folder: Folder) -> None:
    data = in_true_times(folder).write()
    fitted_on = PLAUSIBLE.around(NOW * 10**6, (NOW + 86_400) * 10**6)
    assert validate(data, times=fitted_on).ok
    folder["events"]["ts"][4] += 12 * 365 * 24 * HOUR
    assert validate(folder.write()).ok
    (finding,) = validate(folder.write(), times=fitted_on).errors
    assert finding.what.startswith("ts is after 2035-02-0")


def with_event_labels(folder: Folder, rows: list[tuple[str, int, int, str | None]]) -> Folder:
    """Two events of user a at once, and labels of events with their ids."""
    in_true_times(folder)
    folder["events"]["ts"][2] = folder["events"]["ts"][1]
    folder.types["event_id"] = pa.string()
    folder["events"]["event_id"] = ["e0", "e1", "e2", "e3", "e4"]
    users, places, labels, ids = (list(column) for column in zip(*rows, strict=True))
    columns = {"user_id": users, "ts": [folder["events"]["ts"][place] for place in places], "label": labels}
    folder.files["labels/fraud"] = {**columns, "event_id": ids}
    del folder.files["labels/churn"]
    return folder


def test_labels_of_events_are_told_apart_by_their_ids(folder: Folder) -> None:
    with_event_labels(folder, [("a", 1, 1, "e1"), ("a", 2, 0, "e2"), ("b", 3, 0, None), ("b", 4, 0, "e3")])
    report = validate(folder.write())
    assert report.ok
    assert [finding.what.split(";")[0] for finding in report.warnings[:1]] == ["no event of the user at ts"]
    assert "2 of 3 labelled events have others in the same microsecond" in report.warnings[1].what
    assert "1 of 'transaction' (0 of them at rows labelled 1)" in report.warnings[1].what
    assert "1 of 'app' (1 of them at rows labelled 1)" in report.warnings[1].what


@pytest.mark.parametrize(("places", "n_first"), [([0, 3], 2), ([0, 1, 3], 2), ([0, 1], 0)])
def test_labels_of_first_events_are_told_of_where_they_are_many(
    folder: Folder, places: list[int], n_first: int
) -> None:
    in_true_times(folder)
    events, labels = folder["events"], [0, 1, 0][: len(places)]
    columns = {name: [events[name][place] for place in places] for name in ("user_id", "ts")}
    folder.files = {"events": events, "labels/fraud": {**columns, "label": labels}}
    report = validate(folder.write())
    assert report.ok
    found = [finding.what.split(":")[0] for finding in report.warnings]
    assert found == ([f"{n_first} of {len(places)} labelled events are the first of their user"] if n_first else [])


def test_labels_of_events_that_nothing_tells_apart_are_named(folder: Folder) -> None:
    with_event_labels(folder, [("a", 1, 1, None), ("a", 2, 0, None), ("b", 3, 0, None), ("b", 4, 0, None)])
    (finding,) = validate(folder.write()).errors
    assert finding.file == "labels/fraud.parquet"
    assert finding.what.startswith("2 of 4 rows, of 1 users, cannot be told apart: their user has several events")
    assert "with events 1 of 'transaction', 1 of 'app'" in finding.what
    assert "event_id" in finding.what


def test_events_without_a_value_and_fields_without_a_name_are_counted_by_source(folder: Folder) -> None:
    folder["events"]["fields"] = [[("screen", " ")], [("", "1"), ("mcc", "5411")], [], [("", "x")], [("amount", "nan")]]
    folder["profiles"]["attributes"][1] = [("", "GB")]
    report = folder.validate()
    assert report.ok
    counted = {
        finding.what: finding.count for finding in report.warnings if "''" in finding.what or "no field" in finding.what
    }
    assert counted == {
        "events have no field whose value is read, so that only their source and time are read, by source: "
        "2 of 3 of 'app', 1 of 2 of 'transaction'": 3,
        "fields have '' for a name, and count as one field of that name, by source: 1 of 'transaction', 1 of 'app'": 2,
        "1 attributes have '' for a name, and count as one of that name": 1,
    }


def test_events_without_fields_are_a_warning_of_tokenize_too(folder: Folder, tmp_path: Path) -> None:
    in_true_times(folder)["events"]["fields"] = [[("a", "b")], [("", "1")], [], [("a", "c")], [("d", "")]]
    tokenize(folder.write(), tmp_path / "tok")
    table = FieldTable.load(tmp_path / "tok")
    assert table is not None
    told = [warning for warning in table.warnings if "only their source" in warning or "''" in warning]
    assert told == [
        "events.parquet: events have no field whose value is read, so that only their source and time are read, by "
        "source: 1 of 3 of 'app', 1 of 2 of 'transaction' (in all: 2)",
        "events.parquet: fields have '' for a name, and count as one field of that name, by source: "
        "1 of 'transaction' (in all: 1)",
    ]


def test_users_that_are_written_otherwise_are_told(folder: Folder) -> None:
    in_true_times(folder)["labels/churn"]["user_id"] = ["a", "a", "B"]
    folder.files["profiles"]["user_id"] = ["a", "0b", "c"]
    report = validate(folder.write())
    alike = "1 of 1 differ from known ones in {} alone, such as {}: write both alike"
    assert {finding.what.partition("; ")[2] for finding in report.warnings} >= {
        "the row is skipped; " + alike.format("capital letters", "'B' and 'b'"),
        alike.format("leading zeros", "'b' and '0b'"),
    }
