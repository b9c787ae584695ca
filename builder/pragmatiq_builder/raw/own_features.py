"""A table of the bank's own features: ``user_id``, a moment, and a column of numbers for each feature."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from pragmatiq_builder.raw.arrays import Mask
from pragmatiq_builder.raw.columns import PANDAS_INDEX
from pragmatiq_builder.raw.labels import LABEL_TIMES, LabelTime, read_label_table
from pragmatiq_builder.raw.parts import read_table_at
from pragmatiq_builder.raw.text import UnreadableError, texts
from pragmatiq_triton.batch import Float32, Int64
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange
from pragmatiq_triton.tokenizer.own_features import EXPECTED_NAME, NAME, as_floats

_KEYS = ("user_id", *LABEL_TIMES, "event_id")
_ANSWERS = ("label", "split")
Key = tuple[str, int, int]
"""User, moment in microseconds (0 without one) and hashed event id (0 without one)."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """``values`` float32 [n_rows, n_features], NaN where unknown, of the columns ``names``; ``row_of`` finds a row.

    ``time`` is the column of moments, None where a customer has one row for all times.
    """

    path: Path
    time: LabelTime | None
    names: tuple[str, ...]
    values: Float32
    row_of: dict[Key, int]

    def row(self, key: Key) -> int | None:
        """The number of a row of ``values``: an event's id decides if the table has it, else the moment alone."""
        found = self.row_of.get(key)
        return found if found is not None else self.row_of.get((*key[:2], 0))

    def find(self, keys: Sequence[Key]) -> tuple[Float32, Mask]:
        """The features of each of the ``keys`` [n, n_features], NaN without a row, and which of them have one [n]."""
        found = [self.row(key) for key in keys]
        has_row = np.asarray([row is not None for row in found], bool)
        values = np.full((len(keys), len(self.names)), np.nan, np.float32)
        values[has_row] = self.values[[row for row in found if row is not None]]
        return values, has_row


def read_feature_table(
    path: Path, times: TimeRange = PLAUSIBLE, *, at_moments: bool = True, by_event: bool = True
) -> FeatureTable:
    """Read a parquet file of features, or a folder of its parts; not ``at_moments``, a customer has one row.

    Not ``by_event``, a column ``event_id`` is not read.

    Raises :class:`DataError` for a column that is no number or holds an infinite one, names that a request cannot
    bring, a column ``label``, parts of different columns, and a customer who has two rows of different numbers at one
    moment.
    """
    names: tuple[str, ...] = ()
    time: LabelTime | None = None
    keys: list[Key] = []
    values: list[Float32] = []
    for part in read_table_at(path).parts:
        with part.open() as file:
            schema = file.schema_arrow
        found = tuple(name for name in schema.names if name not in _KEYS)
        _check_columns(part.path, schema, found, at_moments)
        if names and set(found) != set(names):
            raise DataError(f"{part.path}: has the columns {', '.join(found)}, other parts have {', '.join(names)}")
        names = names or found
        table = pq.read_table(part.path, columns=["user_id", *names], partitioning=None)
        if not len(table):
            continue
        numbers = np.column_stack([_numbers(part.path, name, table[name]) for name in names])
        if at_moments:
            moments, time, rows = _moments(part.path, times, by_event)
            keys += moments
            values.append(numbers[rows])
        else:
            keys += [(user, 0, 0) for user in _users(part.path, table["user_id"])]
            values.append(numbers)
    if not values:
        raise DataError(f"{path}: has no rows, expected one for each {'moment' if at_moments else 'customer'}")
    return FeatureTable(path, time, names, np.concatenate(values), _row_of(path, keys, np.concatenate(values)))


def _moments(path: Path, times: TimeRange, by_event: bool) -> tuple[list[Key], LabelTime, Int64]:
    """The keys of a file's rows, which column their moments are in, and the rows' numbers, int64 [n]."""
    read = read_label_table(path, times=times, labelled=False)
    if read is None:
        raise DataError(f"{path}: has no rows, expected one for each moment")
    event_ids = read.event_ids.tolist() if by_event else [0] * len(read.rows)
    return list(zip(read.users.to_pylist(), read.at.tolist(), event_ids, strict=True)), read.time, read.rows


def _users(path: Path, column: pa.ChunkedArray) -> list[str]:
    try:
        users: list[str | None] = texts(column.combine_chunks(), scalars=False)[0].to_pylist()
    except UnreadableError as error:
        raise DataError(f"{path}: user_id is {column.type}: {error}") from None
    if None in users:
        raise DataError(f"{path}: row {users.index(None)}: user_id is null, expected a customer")
    return [str(user) for user in users]


def _check_columns(path: Path, schema: pa.Schema, names: tuple[str, ...], at_moments: bool) -> None:
    given = f"got {', '.join(schema.names) or 'no columns'}"
    present = [time for time in LABEL_TIMES if time in schema.names]
    if "user_id" not in schema.names or len(present) != int(at_moments):
        moment = "either eval_ts or ts, as the labels have," if at_moments else "no moment"
        raise DataError(f"{path}: expected user_id, {moment} and a column for each feature, {given}")
    if not names:
        raise DataError(f"{path}: expected a column of numbers for each feature, {given}")
    if PANDAS_INDEX in names:
        raise DataError(
            f"{path}: the column {PANDAS_INDEX} is pandas' index and no feature; write with "
            "to_parquet(..., index=False)"
        )
    if answers := [name for name in names if name in _ANSWERS]:
        raise DataError(f"{path}: the column {answers[0]} tells the answer, so it is no feature; drop it")
    for name in names:
        if not NAME.fullmatch(name):
            raise DataError(f"{path}: the column {name!r:.80}: expected {EXPECTED_NAME}; rename it")
        if names.count(name) > 1:
            raise DataError(f"{path}: two columns are named {name}; drop one")


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> Float32:
    """A column as float32 [n]; null is NaN."""
    kind = column.type
    if pt.is_null(kind):
        return np.full(len(column), np.nan, np.float32)
    if not (pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind) or pt.is_decimal(kind)):
        raise DataError(
            f"{path}: the column {name} is {kind}, expected numbers or booleans; write a category as numbers, such as "
            "one column of 0 and 1 for each of its values, or leave it out"
        )
    if pt.is_boolean(kind):
        column = column.cast(pa.int8())
    values: npt.NDArray[np.float64] = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(
            f"{path}: row {infinite[0]}: {name} is {values[infinite[0]]}, expected a finite number, or null if unknown"
        )
    return as_floats(values)


def _row_of(path: Path, keys: list[Key], values: Float32) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for row, key in enumerate(keys):
        first = found.setdefault(key, row)
        if first != row and not np.array_equal(values[first], values[row], equal_nan=True):
            moment = f" at {np.datetime64(key[1], 'us')} UTC" if key[1] else ""
            raise DataError(f"{path}: user_id {key[0]!r:.80} has two rows of different numbers{moment}, expected one")
    return found
