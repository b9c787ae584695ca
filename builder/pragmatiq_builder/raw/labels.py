"""Labels of the raw contract: users, moments and classes."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from pragmatiq_builder.raw.arrays import is_string, microseconds, null_mask, time_problems
from pragmatiq_builder.raw.columns import Column, column_of, read_text, stored, usable_columns
from pragmatiq_builder.raw.events import CHUNK_ROWS
from pragmatiq_builder.raw.findings import Findings, FirstError, Rows
from pragmatiq_builder.raw.ids import UInt64, hashed_ids
from pragmatiq_builder.raw.parts import Part, opened, read_rows, read_table_at
from pragmatiq_builder.raw.text import NAME, UnreadableError, texts
from pragmatiq_builder.raw.times import TIME, timestamps
from pragmatiq_triton.batch import Float32, Int64
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange

LabelTime = Literal["eval_ts", "ts"]
LABEL_TIMES: tuple[LabelTime, ...] = ("eval_ts", "ts")
LATE = 31 * 86_400_000_000
"""Microseconds behind the newest event from which on a label of a user is late: labels are often of a month's end."""
LATE_LABEL = "eval_ts is more than 31 days after the newest event; what happened until then is not in the data"
EXPECTED = "expected user_id, label and either eval_ts (labels of users) or ts (labels of events)"
EXPECTED_MOMENTS = "expected user_id and either eval_ts (as of a moment) or ts (of an event)"
CLASS = "a number, 0 or 1"
SPLIT = "split"
PARTS = {"train": 0, "validation": 1, "calibration": 1, "test": 2}
"""What the column ``split`` may say of a row; its validation rows are those that calibrate."""
NO_PART = -1


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Rows of a label file in its order: ``users`` string [n], ``at`` int64 [n] microseconds, ``labels`` float32 [n].

    A label is 0 or 1, NaN where it is missing; ``time`` is the column that ``at`` was in, ``rows`` int64 [n] are the
    rows' numbers in their file; ``event_ids`` uint64 [n] as those of events, 0 without one. ``parts`` int8 [n] is what
    the column ``split`` says, by :data:`PARTS`, ``NO_PART`` where that is null; None without such a column.
    """

    time: LabelTime
    rows: Int64
    users: pa.Array
    at: Int64
    labels: Float32
    event_ids: UInt64
    parts: npt.NDArray[np.int8] | None = None


def read_label_table(
    path: Path, findings: Findings = FirstError(), times: TimeRange = PLAUSIBLE, *, labelled: bool = True
) -> LabelTable | None:
    """All rows of a label file, or of a folder of its parts; their moments are among the plausible ``times``.

    Not ``labelled``, the column ``label`` is not read, and need not be there: every label is NaN.
    What breaks the contract goes to ``findings``, which raises :class:`DataError` unless it gathers; such rows are
    left out then, and None is the answer where no row can be read.
    """
    table = read_table_at(path)
    kinds: set[LabelTime] = set()
    chunks: list[tuple[Int64, pa.Array, Int64, Float32, UInt64, npt.NDArray[np.int8]]] = []
    divided: set[bool] = set()
    for part in table.parts:
        file = opened(part, findings)
        if file is None:
            continue
        with closing(file):
            names = list(file.schema_arrow.names)
            present = [time for time in LABEL_TIMES if time in names]
            if len(present) != 1 or (labelled and "label" not in names):
                expected = EXPECTED if labelled else EXPECTED_MOMENTS
                findings.broken(part.path, f"{expected}, got {', '.join(names) or 'no columns'}")
                continue
            kinds.add(present[0])
            columns = {
                "user_id": Column(lambda column: texts(column, scalars=False), NAME, in_partition=True),
                present[0]: Column(timestamps, TIME),
            }
            if labelled:
                columns["label"] = Column(_classes, CLASS)
                columns[SPLIT] = Column(lambda column: texts(column, scalars=False), NAME, required=False)
                divided.add(SPLIT in names)
            if present[0] == "ts":
                columns["event_id"] = Column(lambda column: texts(column, scalars=False), NAME, required=False)
            usable = usable_columns(part, file, columns, findings)
            for rows in read_rows(part, file, stored(part, file, usable), CHUNK_ROWS, findings):
                chunks.append(_chunk(part, rows, present[0], list(usable), findings, times, labelled))
    if len(kinds) > 1:
        findings.broken(path, "some of its files have eval_ts and some have ts, expected one of them")
        return None
    if len(divided) > 1:
        findings.broken(path, f"some of its files have the column {SPLIT} and some have not, expected one or the other")
        return None
    if not chunks:
        if table.has_no_rows():
            findings.broken(path, "has no rows")
        return None
    numbers, users, at, labels, event_ids, parts = zip(*chunks, strict=True)
    if not sum(map(len, numbers)):
        return None
    return LabelTable(
        kinds.pop(),
        np.concatenate(numbers),
        pa.concat_arrays(users),
        np.concatenate(at),
        np.concatenate(labels),
        np.concatenate(event_ids),
        np.concatenate(parts) if divided == {True} else None,
    )


def label_files(data: Path) -> list[Path]:
    """The label files of a raw data folder, and its folders of parts."""
    folder = data / "labels"
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(("_", ".")) and (path.suffix == ".parquet" or path.is_dir())
    )


def has_label_columns(path: Path) -> bool:
    """Whether a table has a label and a time, or cannot be read, which reading it will say."""
    try:
        with read_table_at(path).parts[0].open() as file:
            names = file.schema_arrow.names
    except DataError:
        return True
    return "label" in names and not {"eval_ts", "ts"}.isdisjoint(names)


def _chunk(
    part: Part, rows: Rows, time: LabelTime, usable: list[str], findings: Findings, times: TimeRange, labelled: bool
) -> tuple[Int64, pa.Array, Int64, Float32, UInt64, npt.NDArray[np.int8]]:
    n = rows.batch.num_rows
    columns = {name: column_of(part, rows, name) for name in usable}
    # Rows that all lack their user, their time or their label would pass for repeats of one another.
    keep = np.full(n, {"user_id", time, *(("label",) if labelled else ())} <= set(columns))
    users, at, labels = pa.array([""] * n), np.zeros(n, np.int64), np.full(n, np.nan, np.float32)
    if "user_id" in columns:
        users = read_text(rows, "user_id", columns["user_id"], findings)
        lacking = null_mask(users)
        findings.error(rows, f"user_id is null, expected {NAME}", lacking)
        keep &= ~lacking
    if time in columns:
        moments = timestamps(columns[time])
        for problem, wrong in time_problems(moments, times).items():
            findings.error(rows, f"{time} {problem}", wrong)
            keep &= ~wrong
        at = microseconds(moments)
    if "label" in columns:
        labels = _classes(columns["label"])
        wrong = ~np.isnan(labels) & (labels != 0) & (labels != 1)
        findings.error(rows, "label is neither 0 nor 1", wrong)
        keep &= ~wrong
        findings.warn(rows, "label is null or NaN; the row is skipped", np.isnan(labels))
    event_ids = np.zeros(n, np.uint64)
    if "event_id" in columns:
        event_ids = hashed_ids(read_text(rows, "event_id", columns["event_id"], findings))
    parts = np.full(n, NO_PART, np.int8)
    if SPLIT in columns:
        said = read_text(rows, SPLIT, columns[SPLIT], findings).to_pylist()
        parts = np.array([NO_PART if each is None else PARTS.get(each, len(PARTS)) for each in said], np.int8)
        wrong = parts == len(PARTS)
        findings.error(rows, f"{SPLIT} is none of {', '.join(PARTS)}", wrong)
        findings.warn(rows, f"{SPLIT} is null; the row is skipped", parts == NO_PART)
        keep &= ~wrong
    kept = np.flatnonzero(keep)
    return rows.first + kept, users.take(pa.array(kept)), at[kept], labels[kept], event_ids[kept], parts[kept]


def _classes(column: pa.Array) -> Float32:
    """Numbers and booleans as float32, null as NaN; what is neither 0 nor 1 stays neither."""
    kind = column.type
    if pt.is_dictionary(kind):
        return _classes(column.dictionary.take(column.indices))
    if not (
        pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind) or pt.is_decimal(kind) or pt.is_null(kind)
    ):
        advice = "; in pandas: (COLUMN == 'YES').astype(int)" if is_string(kind) else ""
        raise UnreadableError(f"expected {CLASS}{advice}")
    numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    exact = np.where(np.isnan(numbers) | (numbers == 0) | (numbers == 1), numbers, 2)
    return np.asarray(exact, np.float32)
