from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pragmatiq_builder.finetune.labels import LabelledRows, read_labels
from pragmatiq_builder.raw.ids import UInt64, hashed_ids
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange

SECOND = 1_000_000
EVER = TimeRange(0)


@dataclass
class Histories:
    """Users and the times of their events."""

    events: dict[str, list[int]]
    times: TimeRange = EVER
    ids: dict[str, list[str | None]] = field(default_factory=dict)
    sources: dict[str, list[int]] = field(default_factory=dict)

    @property
    def user_ids(self) -> list[str]:
        return list(self.events)

    def event_times(self, user: int) -> Int64:
        return np.array(self.events[self.user_ids[user]], np.int64)

    def event_ids(self, user: int) -> UInt64:
        ids = self.ids.get(self.user_ids[user], [None] * len(self.event_times(user)))
        return hashed_ids(pa.array(ids, pa.string()))

    def event_sources(self, user: int) -> Int64:
        return np.array(self.sources.get(self.user_ids[user], [0] * len(self.event_times(user))), np.int64)

    def source_name(self, source: int) -> str:
        return f"source {source}"


DATA = Histories({"a": [1 * SECOND, 3 * SECOND, 3 * SECOND], "b": [2 * SECOND], "c": []})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "task.parquet"


def write(path: Path, rows: list[tuple[Any, Any, Any]], time: str = "eval_ts", **types: pa.DataType) -> None:
    """``rows`` of user, time in microseconds and label, in row groups of 3."""
    kinds = {"user_id": pa.string(), time: pa.timestamp("us"), **types}
    columns = zip(("user_id", time, "label"), zip(*rows, strict=True), strict=True)
    pq.write_table(pa.table({k: pa.array(v, kinds.get(k)) for k, v in columns}), path, row_group_size=3)


def triples(rows: LabelledRows) -> list[tuple[int, int, int]]:
    return list(zip(rows.users.tolist(), rows.at.tolist(), rows.labels.tolist(), strict=True))


def test_users_that_are_written_otherwise_are_told(path: Path) -> None:
    write(path, [("a", 5 * SECOND, 1), ("b", 5 * SECOND, 0), ("B", 5 * SECOND, 0), ("x", 5 * SECOND, 0)])
    (caution,) = read_labels(path, DATA).cautions
    assert caution == (
        "2 users of the labels are not in the data set; 1 of 2 differ from known ones in capital letters alone, such "
        "as 'B' and 'b': write both alike"
    )
    write(path, [("A", 5 * SECOND, 1), ("B", 5 * SECOND, 0)])
    with pytest.raises(DataError, match=r"such as 'a'; 2 of 2 differ from known ones in capital letters alone"):
        read_labels(path, DATA)


def test_labels_long_after_the_data_are_a_caution(path: Path) -> None:
    month = 31 * 86_400 * SECOND
    write(path, [("a", 3 * SECOND + month, 1), ("b", 3 * SECOND + month, 0), ("b", 4 * SECOND + month, 1)])
    (caution,) = read_labels(path, DATA).cautions
    assert caution.startswith("1 of 3 labels: eval_ts is more than 31 days after the newest event")


def test_labels_of_users_judge_the_history_before_their_time(path: Path) -> None:
    write(path, [("b", 2 * SECOND + 1, 1), ("a", 2 * SECOND, 0), ("b", 2 * SECOND, 1), ("c", 9 * SECOND, 0)])
    rows = read_labels(path, DATA)
    assert rows.kind == "user"
    assert triples(rows) == [(1, 2 * SECOND + 1, 1), (0, 2 * SECOND, 0)]
    assert rows.skipped == {"no history before eval_ts": 2}
    assert (rows.users.dtype, rows.at.dtype, rows.labels.dtype) == (np.int64, np.int64, np.int8)


def test_labels_of_events_need_an_event_at_exactly_their_time(path: Path) -> None:
    write(
        path,
        [("b", 2 * SECOND, 1), ("a", SECOND, 0), ("a", 2 * SECOND, 1), ("c", SECOND, 1)],
        "ts",
        ts=pa.timestamp("us"),
    )
    rows = read_labels(path, DATA)
    assert rows.kind == "event"
    assert triples(rows) == [(1, 2 * SECOND, 1), (0, SECOND, 0)]
    assert rows.events is not None
    assert rows.events.tolist() == [0, 0]
    assert rows.skipped == {"no event at ts": 2}


def test_labels_of_first_events_alone_are_a_caution(path: Path) -> None:
    write(path, [("a", SECOND, 0), ("b", 2 * SECOND, 1)], "ts", ts=pa.timestamp("us"))
    (caution,) = read_labels(path, DATA).cautions
    assert caution.startswith("2 of 2 labelled events are the first of their user: their history is empty")


@pytest.mark.parametrize(
    "user_type", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()], ids=str
)
@pytest.mark.parametrize("time_type", [pa.timestamp("ms"), pa.timestamp("ns", "Europe/London")], ids=str)
@pytest.mark.parametrize(
    ("label_type", "one", "zero"), [(pa.bool_(), True, False), (pa.float32(), 1.0, 0.0), (pa.uint8(), 1, 0)]
)
def test_every_encoding_of_the_columns_gives_the_same_rows(
    path: Path, user_type: pa.DataType, time_type: pa.DataType, label_type: pa.DataType, one: Any, zero: Any
) -> None:
    per_microsecond = {"ms": 1 / 1000, "ns": 1000}[time_type.unit]
    rows = [("b", 5 * SECOND, one), ("a", 4 * SECOND, None), ("x", SECOND, zero), ("a", 2 * SECOND, zero)]
    scaled = [(user, int(at * per_microsecond), label) for user, at, label in rows]
    write(path, scaled, user_id=user_type, eval_ts=time_type, label=label_type)
    read = read_labels(path, DATA)
    assert triples(read) == [(1, 5 * SECOND, 1), (0, 2 * SECOND, 0)]
    assert read.skipped == {"label missing": 1, "user unknown": 1}


def test_nan_is_a_missing_label(path: Path) -> None:
    write(path, [("a", 2 * SECOND, float("nan")), ("a", 3 * SECOND, 0.0), ("b", 3 * SECOND, 1.0)])
    assert read_labels(path, DATA).skipped == {"label missing": 1}


def test_of_equal_rows_the_first_is_kept(path: Path) -> None:
    write(path, [("b", 3 * SECOND, 1), ("a", 5 * SECOND, 0), ("b", 4 * SECOND, 0), ("b", 3 * SECOND, 1)])
    rows = read_labels(path, DATA)
    assert triples(rows) == [(1, 3 * SECOND, 1), (0, 5 * SECOND, 0), (1, 4 * SECOND, 0)]
    assert rows.skipped == {"duplicate": 1}


GOOD = [("a", 5 * SECOND, 0), ("b", 5 * SECOND, 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*GOOD, ("a", 6 * SECOND, 2)], r"task\.parquet: row 2: label is neither 0 nor 1; the row has .*label 2"),
        ([("a", 6 * SECOND, -1), *GOOD], r"row 0: label is neither 0 nor 1; .*label -1"),
        ([("a", 6 * SECOND, 0.5)], r"row 0: label is neither 0 nor 1; .*label 0\.5"),
        ([("a", 6 * SECOND, float("inf"))], r"row 0: label is neither 0 nor 1; .*label inf"),
        ([("a", 6 * SECOND, None), ("a", SECOND, "yes")], r"task\.parquet: column label is string, expected a number"),
        ([*GOOD, ("a", None, 1)], r"row 2: eval_ts is null; "),
        ([*GOOD, ("a", -1, 1)], r"row 2: eval_ts is before 1970-01-01; .*eval_ts -1"),
        ([*GOOD, ("a", 253_402_300_800 * SECOND, 1)], r"row 2: eval_ts is after 9999-12-31"),
        ([*GOOD, (None, SECOND, 1)], r"row 2: user_id is null"),
        ([*GOOD, ("a", 5 * SECOND, 1)], r"user 'a' has labels 0 and 1 at 1970-01-01T00:00:05\.000000 UTC"),
        (
            [("x", SECOND, 1), ("y", SECOND, 0)],
            r"none of its users is in the data set: .* 'x', the data set such as 'a'",
        ),
        ([("a", 5 * SECOND, 1), ("b", 5 * SECOND, 1)], r"got 2 rows, 2 of them usable, all labelled 1; skipped: none"),
        (
            [("a", 5 * SECOND, 0), ("x", 5 * SECOND, 1)],
            r"got 2 rows, 1 of them usable, all labelled 0; skipped: 1 user",
        ),
        ([("a", SECOND, 0), ("c", SECOND, 1)], r"got 2 rows, 0 of them usable; skipped: 2 no history before eval_ts"),
    ],
)
def test_a_row_that_breaks_the_contract_is_named(path: Path, rows: list[tuple[Any, Any, Any]], message: str) -> None:
    write(path, rows)
    with pytest.raises(DataError, match=message):
        read_labels(path, DATA)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": ["a"], "label": [1]}, r"either eval_ts .* or ts .*, got user_id, label$"),
        ({"user_id": ["a"], "ts": [1], "eval_ts": [1], "label": [1]}, r"got user_id, ts, eval_ts, label$"),
        ({"user_id": ["a"], "ts": [1]}, r"expected user_id, label .*, got user_id, ts$"),
        ({"user_id": ["a"], "ts": [1], "label": [1]}, r"column ts is int64, expected a timestamp or a date; in pandas"),
        (
            {"user_id": [7.0], "ts": [1], "label": [1]},
            r"column user_id is double, expected a string or an integer; floats",
        ),
        ({"user_id": [], "ts": [], "label": []}, r"task\.parquet: has no rows"),
    ],
)
def test_columns_that_do_not_fit_are_named(path: Path, columns: dict[str, list[Any]], message: str) -> None:
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=message):
        read_labels(path, DATA)


def test_a_file_that_is_not_parquet_is_named(path: Path) -> None:
    with pytest.raises(DataError, match=r"task\.parquet: expected a parquet file"):
        read_labels(path, DATA)
    path.write_text("user_id,eval_ts,label\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"task\.parquet: cannot be read as Parquet"):
        read_labels(path, DATA)


def test_a_data_set_without_users_is_said_to_have_none(path: Path) -> None:
    write(path, GOOD)
    with pytest.raises(DataError, match=r"'a', the data set none at all"):
        read_labels(path, Histories({}))


@settings(deadline=None, max_examples=60)
@given(
    entries=st.dictionaries(
        st.tuples(st.sampled_from("abcx"), st.integers(0, 5)),
        st.tuples(st.sampled_from([0, 1, None]), st.integers(1, 2)),
        min_size=1,
    ),
    histories=st.fixed_dictionaries({user: st.lists(st.integers(0, 5)).map(sorted) for user in "abc"}),
    time=st.sampled_from(["eval_ts", "ts"]),
    shuffle=st.randoms(use_true_random=False),
)
def test_rows_are_kept_and_counted_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    entries: dict[tuple[str, int], tuple[int | None, int]],
    histories: dict[str, list[int]],
    time: str,
    shuffle: Any,
) -> None:
    # One row of each class that is always usable, so that the file as a whole is.
    histories = {**histories, "z": [0, 1]}
    if time == "ts":
        # Which of several events at once a label means is another test's question.
        histories = {user: sorted(set(times)) for user, times in histories.items()}
    rows: list[tuple[str, int, int | None]] = [("z", 1, 0), ("z", 0 if time == "ts" else 2, 1)]
    rows += [(user, at, label) for (user, at), (label, times) in entries.items() for _ in range(times)]
    shuffle.shuffle(rows)

    kept: list[tuple[int, int, int]] = []
    skipped: Counter[str] = Counter()
    seen = set()
    for user, at, label in rows:
        if label is None:
            skipped["label missing"] += 1
        elif user not in histories:
            skipped["user unknown"] += 1
        elif (user, at) in seen:
            skipped["duplicate"] += 1
        else:
            seen.add((user, at))
            if time == "ts" and at not in histories[user]:
                skipped["no event at ts"] += 1
            elif time == "eval_ts" and not any(event < at for event in histories[user]):
                skipped["no history before eval_ts"] += 1
            else:
                kept.append((list(histories).index(user), at, label))

    path = tmp_path_factory.mktemp("labels") / "task.parquet"
    write(path, rows, time, **{time: pa.timestamp("us")})
    read = read_labels(path, Histories(histories))
    assert triples(read) == kept
    assert read.skipped == skipped


NOW = 1_738_245_371


@pytest.mark.parametrize("time", ["eval_ts", "ts"])
@pytest.mark.parametrize(
    ("stored", "unit", "read_as"),
    [(NOW, "seconds", "us"), (NOW * 10**3, "milliseconds", "us"), (NOW * 10**3, "milliseconds", "ns"),
     (NOW * 10**9, "nanoseconds", "us"), (NOW * 10**6, "microseconds", "ms")],
)  # fmt: skip
def test_label_times_in_a_wrong_unit_are_refused_and_the_unit_is_named(
    path: Path, time: str, stored: int, unit: str, read_as: str
) -> None:
    write(path, [("a", stored, 1), ("b", stored, 0)], time, **{time: pa.timestamp(read_as)})
    with pytest.raises(DataError, match=rf"row 0: {time} is .*; it looks like {unit}; the row has .*{time} {stored}"):
        read_labels(path, Histories(DATA.events, PLAUSIBLE))


def write_events(path: Path, rows: list[tuple[str, int, int, str | None]]) -> None:
    """Labels of events: user, microseconds, label and event_id."""
    users, at, labels, ids = zip(*rows, strict=True)
    columns = {"user_id": users, "ts": pa.array(at, pa.timestamp("us")), "label": labels}
    pq.write_table(pa.table({**columns, "event_id": pa.array(ids, pa.string())}), path)


TWO_AT_ONCE = Histories(
    {"a": [SECOND, 3 * SECOND, 3 * SECOND], "b": [2 * SECOND]}, ids={"a": ["e1", "e2", "e3"], "b": ["e4"]}
)


def test_two_payments_in_one_second_are_told_apart_by_their_ids(path: Path) -> None:
    write_events(
        path, [("a", 3 * SECOND, 1, "e3"), ("a", 3 * SECOND, 0, "e2"), ("b", 2 * SECOND, 0, None),
               ("a", SECOND, 1, "none such"), ("a", 3 * SECOND, 1, "e3")]
    )  # fmt: skip
    rows = read_labels(path, TWO_AT_ONCE)
    assert triples(rows) == [(0, 3 * SECOND, 1), (0, 3 * SECOND, 0), (1, 2 * SECOND, 0)]
    assert rows.events is not None
    assert rows.events.tolist() == [2, 1, 0]
    assert rows.skipped == {"duplicate": 1, "no event at ts": 1}
    (caution,) = rows.cautions
    assert caution.startswith("2 of 3 labelled events have others in the same microsecond, which are left out")
    assert "2 of 'source 0' (1 of them at rows labelled 1)" in caution


def test_one_event_with_two_labels_is_a_contradiction_with_or_without_its_id(path: Path) -> None:
    write_events(path, [("b", 2 * SECOND, 0, "e4"), ("b", 2 * SECOND, 1, None)])
    with pytest.raises(DataError, match=r"user 'b' has labels 0 and 1 at .* remove the wrong row"):
        read_labels(path, TWO_AT_ONCE)


@pytest.mark.parametrize("ids", [{}, TWO_AT_ONCE.ids])
def test_events_that_nothing_tells_apart_are_named_and_no_row_is_called_wrong(path: Path, ids: dict[str, Any]) -> None:
    rows = [("b", 2 * SECOND, 0), *[("a", 3 * SECOND, label) for label in (0, 1)]]
    write(path, rows, "ts", ts=pa.timestamp("us"))
    with pytest.raises(DataError) as caught:
        read_labels(path, Histories(TWO_AT_ONCE.events, ids=ids))
    message = str(caught.value)
    assert "2 of 3 rows, of 1 users, cannot be told apart" in message
    assert (
        "(rows 1, 2; the first is of user 'a' at 1970-01-01T00:00:03.000000 UTC, with events 2 of 'source 0')"
        in message
    )
    assert "a column event_id" in message
    assert "wrong" not in message


@pytest.mark.parametrize("blocked", [1, 2])
def test_of_events_at_once_the_one_of_the_labelled_source_is_meant_and_that_is_said(path: Path, blocked: int) -> None:
    sources = [7, 7, 7]
    sources[blocked] = 9
    write(path, [("a", 3 * SECOND, 1), ("b", 2 * SECOND, 0)], "ts", ts=pa.timestamp("us"))
    rows = read_labels(path, Histories(TWO_AT_ONCE.events, sources={"a": sources, "b": [7]}))
    assert rows.events is not None
    assert rows.events.tolist() == [3 - blocked, 0]
    guess, left_out = rows.cautions
    assert guess.startswith("1 labels are of moments with several events and have no event_id")
    assert guess.endswith("'source 7'.")
    assert "1 of 'source 9' (1 of them at rows labelled 1)" in left_out
