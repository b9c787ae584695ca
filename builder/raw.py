"""Reading the raw contract: ``events.parquet`` and ``profiles.parquet`` as chunks of Arrow columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder.validation.arrays import PER_SECOND, integers, microseconds, time_problems
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.records import MAX_TS
from pragmatiq_triton.tokenizer.times import MICROSECONDS

CHUNK_ROWS = 65_536
EVENT_COLUMNS = ("user_id", "ts", "source", "fields")
PROFILE_COLUMNS = ("user_id", "as_of", "attributes", "lifelong")


@dataclass(frozen=True, slots=True)
class EventChunk:
    """Events of whole users, each user's in ascending time.

    ``user_ids``: one per user; ``event_counts`` int64 [n_users]; ``ts`` int64 [n_events] microseconds; ``sources``
    string [n_events]; ``field_counts`` int64 [n_events]; ``keys`` and ``values`` string [n_fields], event by event.
    """

    user_ids: list[str]
    event_counts: Int64
    ts: Int64
    sources: pa.Array
    field_counts: Int64
    keys: pa.Array
    values: pa.Array


@dataclass(frozen=True, slots=True)
class ProfileChunk:
    """Profiles of users: ``as_of`` int64 [n]; attributes and milestones as flat columns with their counts per user."""

    user_ids: list[str]
    as_of: Int64
    attribute_counts: Int64
    attribute_keys: pa.Array
    attribute_values: pa.Array
    milestone_counts: Int64
    milestone_keys: pa.Array
    milestone_ts: Int64


def count_rows(path: Path) -> int:
    """Rows of a parquet file, from its footer."""
    return int(_open(path, ()).metadata.num_rows)


def read_events(data: Path, chunk_rows: int = CHUNK_ROWS) -> Iterator[EventChunk]:
    """Stream ``events.parquet``; a user's events are never split, out-of-order ones are sorted (stable).

    Raises :class:`DataError` for missing columns, impossible timestamps and a user that appears in two places.
    """
    path = data / "events.parquet"
    seen: set[str] = set()
    carried: pa.Table | None = None
    for batch in _open(path, EVENT_COLUMNS).iter_batches(chunk_rows, columns=list(EVENT_COLUMNS)):
        table = pa.Table.from_batches([batch])
        if carried is not None:
            table = pa.concat_tables([carried, table])
        # The last user may go on in the next batch.
        last_start = int(_run_starts(_plain(table["user_id"]))[-1])
        carried = table.slice(last_start)
        if last_start:
            yield _event_chunk(path, table.slice(0, last_start), seen)
    if carried is not None and carried.num_rows:
        yield _event_chunk(path, carried, seen)


def read_profiles(data: Path, chunk_rows: int = CHUNK_ROWS) -> Iterator[ProfileChunk]:
    """Stream ``profiles.parquet``; a folder without one has no profiles."""
    path = data / "profiles.parquet"
    if not path.exists():
        return
    for batch in _open(path, PROFILE_COLUMNS).iter_batches(chunk_rows, columns=list(PROFILE_COLUMNS)):
        table = pa.Table.from_batches([batch])
        attributes, milestones = table["attributes"].combine_chunks(), table["lifelong"].combine_chunks()
        attribute_counts, attribute_slice = _list_counts(attributes)
        milestone_counts, milestone_slice = _list_counts(milestones)
        items = milestones.values[milestone_slice]
        yield ProfileChunk(
            user_ids=_plain(table["user_id"]).to_pylist(),
            as_of=_microseconds(path, "as_of", table["as_of"].combine_chunks(), least=-MAX_TS),
            attribute_counts=attribute_counts,
            attribute_keys=_plain(attributes.keys[attribute_slice]),
            attribute_values=_plain(attributes.items[attribute_slice]).fill_null(""),
            milestone_counts=milestone_counts,
            milestone_keys=_plain(pc.struct_field(items, "key")),
            milestone_ts=_microseconds(path, "lifelong.ts", pc.struct_field(items, "ts")),
        )


def _event_chunk(path: Path, table: pa.Table, seen: set[str]) -> EventChunk:
    table = table.combine_chunks()
    users = _plain(table["user_id"])
    starts = _run_starts(users)
    user_ids = users.take(pa.array(starts)).to_pylist()
    for user_id in user_ids:
        if user_id is None or user_id in seen:
            problem = "a null user_id" if user_id is None else f"user {user_id!r} appears in two places"
            raise DataError(f"{path}: {problem}; expected each user's events in consecutive rows; sort by user_id, ts")
        seen.add(user_id)
    counts = np.diff(np.append(starts, len(users)))
    ts = _microseconds(path, "ts", table["ts"].combine_chunks())
    numbers = np.repeat(np.arange(len(counts)), counts)
    if np.any((np.diff(ts) < 0) & (np.diff(numbers) == 0)):
        order = np.lexsort((ts, numbers))
        table, ts = table.take(pa.array(order)).combine_chunks(), ts[order]
    fields = table["fields"].combine_chunks()
    if isinstance(fields, pa.ChunkedArray):
        fields = pa.concat_arrays(fields.chunks)
    field_counts, field_slice = _list_counts(fields)
    return EventChunk(
        user_ids=user_ids,
        event_counts=counts,
        ts=ts,
        sources=_plain(table["source"]).fill_null(""),
        field_counts=field_counts,
        keys=_plain(fields.keys[field_slice]),
        values=_plain(fields.items[field_slice]).fill_null(""),
    )


def _open(path: Path, columns: tuple[str, ...]) -> pq.ParquetFile:
    try:
        # Buffering ahead would keep the bytes of every row group: a file larger than memory must stream.
        file = pq.ParquetFile(path, pre_buffer=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: expected a parquet file of the raw contract: {error}") from None
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing; expected {', '.join(columns)}")
    return file


def _plain(column: Any) -> pa.Array:
    """A string column in one piece, whatever its encoding was."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column if column.type == pa.string() else column.cast(pa.string())


def _run_starts(users: pa.Array) -> npt.NDArray[np.int64]:
    codes = users.dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False)
    return np.flatnonzero(np.diff(codes, prepend=-1))


def _list_counts(lists: Any) -> tuple[Int64, slice]:
    """Lengths of the lists int64 [n] and the part of their child arrays that they cover."""
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks)
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return np.diff(offsets), slice(int(offsets[0]), int(offsets[-1]))


def _microseconds(path: Path, name: str, column: pa.Array, least: int = 0) -> Int64:
    problems = time_problems(column)
    if least < 0:
        stored = integers(column)
        problems["is before 1970"] = stored < least // MICROSECONDS * PER_SECOND[column.type.unit]
    bad = np.logical_or.reduce(list(problems.values()))
    if bad.any():
        raise DataError(
            f"{path}: column {name!r}: {int(bad.sum())} timestamps are null, before 1970 or after 9999, "
            f"the first is stored as {integers(column)[np.argmax(bad)]} {column.type.unit}; "
            "run `pragmatiq validate` for the rows"
        )
    return microseconds(column)
