"""Events of the raw contract as chunks of whole users."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pragmatiq_builder.raw.arrays import encode, map_parts, microseconds, null_mask, time_problems
from pragmatiq_builder.raw.columns import Column, column_of, read_text, stored, usable_columns
from pragmatiq_builder.raw.findings import Findings, FirstError, Rows
from pragmatiq_builder.raw.ids import UInt64, hashed_ids
from pragmatiq_builder.raw.merge import merged, sorted_as
from pragmatiq_builder.raw.pairs import PAIRS, named_texts
from pragmatiq_builder.raw.parts import Part, RawTable, find_table, missing_table, opened, read_rows
from pragmatiq_builder.raw.text import NAME, texts
from pragmatiq_builder.raw.times import FUTURE, TIME, in_future, timestamps
from pragmatiq_triton.batch import Int64, cu_seqlens
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange

CHUNK_ROWS = 65_536
COLUMNS = {
    "user_id": Column(lambda column: texts(column, scalars=False), NAME, in_partition=True),
    "ts": Column(timestamps, TIME),
    "source": Column(
        lambda column: texts(column, scalars=False),
        NAME,
        in_partition=True,
        advice="one text for all rows will do, if all are of one kind",
    ),
    "fields": Column(named_texts, PAIRS, advice="in pandas: df['fields'] = df[NAMES].to_dict('records')"),
    "event_id": Column(lambda column: texts(column, scalars=False), NAME, required=False),
}


@dataclass(frozen=True, slots=True)
class EventChunk:
    """Events of whole users, each user's in ascending time.

    ``user_ids``: one per user; ``event_counts`` int64 [n_users]; ``ts`` int64 [n_events] microseconds; ``sources``
    string [n_events]; ``field_counts`` int64 [n_events]; ``keys`` and ``values`` string [n_fields], event by event;
    ``event_ids`` uint64 [n_events], hashes, 0 without one.
    """

    user_ids: list[str]
    event_counts: Int64
    ts: Int64
    sources: pa.Array
    field_counts: Int64
    keys: pa.Array
    values: pa.Array
    event_ids: UInt64


def read_events(
    data: Path, chunk_rows: int = CHUNK_ROWS, findings: Findings = FirstError(), times: TimeRange = PLAUSIBLE
) -> Iterator[EventChunk]:
    """Stream the events of a raw data folder; a user's are never split, out-of-order ones are sorted (stable).

    What breaks the contract goes to ``findings``, which raises :class:`DataError` unless it gathers; rows without a
    user or a time among the plausible ``times`` are left out then. Parts that all are sorted by user are merged, so a
    user may be in several.
    """
    table = find_table(data, "events")
    if table is None:
        raise missing_table(data, "events")
    yield from map(_chunk, _whole_users(_batches(table, chunk_rows, findings, times)))
    if table.has_no_rows():
        findings.broken(table.path, "has no events, expected at least one")


def _batches(table: RawTable, chunk_rows: int, findings: Findings, times: TimeRange) -> Iterator[pa.Table]:
    """Events as ``user_id``, ``ts`` int64, ``source``, ``fields`` map, every user's rows together."""
    if len(table.parts) > 1 and (sorted_by := sorted_as(table.parts)) is not None:
        rows_each = max(chunk_rows // len(table.parts), 1024)
        # Each part is checked on its own: a user who is in another one comes back nowhere.
        return merged([_events_of(part, rows_each, findings, _Order(table), times) for part in table.parts], sorted_by)
    order = _Order(table)
    return (events for part in table.parts for events in _events_of(part, chunk_rows, findings, order, times))


def _events_of(
    part: Part, chunk_rows: int, findings: Findings, order: "_Order", times: TimeRange
) -> Iterator[pa.Table]:
    file = opened(part, findings)
    if file is None:
        return
    with closing(file):
        usable = usable_columns(part, file, COLUMNS, findings)
        if not usable:
            return
        for rows in read_rows(part, file, stored(part, file, usable), chunk_rows, findings):
            yield _events(part, rows, list(usable), findings, order, times)


def _events(
    part: Part, rows: Rows, usable: list[str], findings: Findings, order: "_Order", times: TimeRange
) -> pa.Table:
    n = rows.batch.num_rows
    columns = {name: column_of(part, rows, name) for name in usable}
    keep = np.full(n, {"user_id", "ts"} <= set(columns))
    users, ts, sources = pa.array([""] * n), np.zeros(n, np.int64), pa.array([""] * n)
    event_ids = np.zeros(n, np.uint64)
    if "event_id" in columns:
        event_ids = hashed_ids(read_text(rows, "event_id", columns["event_id"], findings))
    if "user_id" in columns:
        users = read_text(rows, "user_id", columns["user_id"], findings)
        lacking = null_mask(users)
        findings.error(rows, "user_id is null", lacking)
        keep &= ~lacking
    if "ts" in columns:
        moments = timestamps(columns["ts"])
        for problem, wrong in time_problems(moments, times).items():
            findings.error(rows, f"ts {problem}", wrong)
            keep &= ~wrong
        ts = microseconds(moments)
        findings.warn(rows, f"ts {FUTURE}", keep & in_future(ts))
    if "source" in columns:
        sources = read_text(rows, "source", columns["source"], findings)
        findings.warn(rows, "source is null; it is read as the empty string", null_mask(sources))
        sources = sources.fill_null("")
    fields = pa.nulls(n, pa.map_(pa.string(), pa.string()))
    if "fields" in columns:
        pairs = named_texts(columns["fields"])
        for problem, wrong in pairs.problems.items():
            findings.error(rows, f"fields {problem}", wrong)
        findings.warn(rows, "fields is null; it is read as no fields", null_mask(columns["fields"]))
        offsets = pa.array(cu_seqlens(pairs.counts).astype(np.int32))
        fields = pa.MapArray.from_arrays(offsets, pairs.keys, pairs.values)
    if "user_id" in columns:
        order.check(rows, users, ts, keep, findings)
    table = pa.table({"user_id": users, "ts": ts, "source": sources, "fields": fields, "event_id": event_ids})
    return table if keep.all() else table.filter(pa.array(keep))


@dataclass(slots=True)
class _Order:
    """Each user's rows are together; which users were met, and the last row's user and time."""

    table: RawTable
    seen: set[str] = field(default_factory=set)
    previous: tuple[str | None, int] = (None, 0)

    def check(self, rows: Rows, users: pa.Array, ts: Int64, usable: npt.NDArray[np.bool_], findings: Findings) -> None:
        """The next rows; times are looked at where they are ``usable``."""
        code, names = encode(users)
        name, time = self.previous
        continues = np.empty(len(code), np.bool_)
        continues[0] = names[code[0]] is not None and names[code[0]] == name
        continues[1:] = code[1:] == code[:-1]
        comes_back = np.zeros(len(code), np.bool_)
        for row in np.flatnonzero(~continues):
            user = names[code[row]]
            if user is not None:
                comes_back[row] = user in self.seen
                self.seen.add(user)
        findings.error(rows, f"user comes back after another user's rows, in two places; {self._remedy()}", comes_back)
        earlier = continues & usable & (ts < np.concatenate([[time], ts[:-1]]))
        findings.warn(rows, "ts is earlier than in the row before; the builder sorts each user's events", earlier)
        self.previous = names[code[-1]], int(ts[-1])

    def _remedy(self) -> str:
        if len(self.table.parts) == 1:
            return "sort the rows by user_id, ts"
        return "sort the rows by user_id, ts, in each part, or write one file"


def _whole_users(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, cut where one user ends and the next begins."""
    carried: list[pa.Table] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        table = pa.concat_tables([*carried, batch])
        # The last user may go on in the next batch.
        last_start = int(_run_starts(table["user_id"].combine_chunks())[-1])
        carried = [table.slice(last_start)]
        if last_start:
            yield table.slice(0, last_start)
    yield from carried


def _chunk(table: pa.Table) -> EventChunk:
    table = table.combine_chunks()
    users = table["user_id"].combine_chunks()
    starts = _run_starts(users)
    counts = np.diff(np.append(starts, len(users)))
    ts = np.asarray(table["ts"].to_numpy(), np.int64)
    numbers = np.repeat(np.arange(len(counts)), counts)
    if np.any((np.diff(ts) < 0) & (np.diff(numbers) == 0)):
        order = np.lexsort((ts, numbers))
        table, ts = table.take(pa.array(order)).combine_chunks(), ts[order]
    field_counts, keys, values = map_parts(pa.concat_arrays(table["fields"].chunks))
    return EventChunk(
        user_ids=users.take(pa.array(starts)).to_pylist(),
        event_counts=counts,
        ts=ts,
        sources=table["source"].combine_chunks(),
        field_counts=field_counts,
        keys=keys,
        values=values.fill_null(""),
        event_ids=np.asarray(table["event_id"].to_numpy(), np.uint64),
    )


def _run_starts(users: pa.Array) -> npt.NDArray[np.int64]:
    codes = users.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return np.flatnonzero(np.diff(codes, prepend=-1))
