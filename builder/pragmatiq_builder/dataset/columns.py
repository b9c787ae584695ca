"""Arrow columns of a chunk as the tokenizer's field columns, without a Python loop over rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pragmatiq_builder.prefetch import prefetched
from pragmatiq_builder.raw import EventChunk, ProfileChunk, read_events
from pragmatiq_builder.raw.findings import Findings, FirstError
from pragmatiq_triton.batch import Int64, cu_seqlens
from pragmatiq_triton.time_range import TimeRange
from pragmatiq_triton.tokenizer.fields import SOURCE_KEY, FieldColumn
from pragmatiq_triton.tokenizer.values import ValueRules, canonical

Part = Literal["events", "attributes", "milestones"]
"""Where a field stands."""


@dataclass(frozen=True, slots=True)
class FieldTable:
    """Fields in their order as key and value columns: ``keys`` and ``values`` string [n]."""

    keys: pa.Array
    values: pa.Array

    def columns(self) -> Iterator[FieldColumn]:
        """One column per key, its values made distinct."""
        encoded = self.keys.dictionary_encode()
        codes = encoded.indices.to_numpy()
        order = np.argsort(codes.astype(np.uint16) if len(encoded.dictionary) < 1 << 16 else codes, kind="stable")
        offsets = cu_seqlens(np.bincount(codes, minlength=len(encoded.dictionary)))
        for i, key in enumerate(encoded.dictionary.to_pylist()):
            slots = order[offsets[i] : offsets[i + 1]]
            values = self.values.take(pa.array(slots)).dictionary_encode()
            yield FieldColumn(key, slots, values.dictionary.to_pylist(), values.indices.to_numpy().astype(np.int64))


@dataclass(frozen=True, slots=True)
class CountedValues:
    """The distinct values of one field in a chunk: as ``written``, as ``read`` (None: missing), and how often each.

    ``counts`` int64 [n_distinct]; two spellings of one value are two entries.
    """

    part: Part
    key: str
    written: Sequence[str]
    read: list[str | None]
    counts: Int64


@dataclass(frozen=True, slots=True)
class EncodableEvents:
    """A chunk with its fields as columns, the source before each event's own, and fields per event int64 [n_events].

    The columns hold what the tokenizer reads; ``counted`` is all that was there, missing and dropped values too.
    """

    chunk: EventChunk
    columns: list[FieldColumn]
    field_counts: Int64
    counted: list[CountedValues]


@dataclass(frozen=True, slots=True)
class EncodableProfiles:
    """A chunk with its items as columns, attributes by key and then milestones as given.

    ``item_counts`` int64 [n_users]; ``item_times`` int64 [n_items]: where each item's time is among ``milestone_ts``,
    -1 for attributes.
    """

    chunk: ProfileChunk
    columns: list[FieldColumn]
    item_counts: Int64
    item_times: Int64
    counted: list[CountedValues]


def read_event_columns(
    data: Path, rules: ValueRules | None, times: TimeRange, findings: Findings = FirstError()
) -> Iterator[EncodableEvents]:
    """Stream ``events.parquet`` as columns; reading and sorting into columns go on while a chunk is worked on."""
    return prefetched(event_columns(chunk, rules) for chunk in read_events(data, findings=findings, times=times))


def event_columns(chunk: EventChunk, rules: ValueRules | None) -> EncodableEvents:
    """Columns of all fields of the chunk, the source before each event's own, as ``rules`` read them.

    An event's source is never missing: without it there would be no token of the event.
    """
    n_events = len(chunk.ts)
    table = FieldTable(chunk.keys, chunk.values).columns()
    columns, present, counted = _read_columns(table, np.zeros(len(chunk.keys), np.int64), ("events",), rules)
    field_counts = _true_counts(present, chunk.field_counts)
    shift = np.arange(1, n_events + 1)
    # Every event's fields move up by one slot per source that stands before them.
    moved = np.arange(int(field_counts.sum())) + np.repeat(shift, field_counts)
    source_slots = cu_seqlens(field_counts)[:-1] + shift - 1
    sources = chunk.sources.dictionary_encode()
    written, inverse = sources.dictionary.to_pylist(), sources.indices.to_numpy().astype(np.int64)
    names = written if rules is None else [*map(canonical, written)]
    counts = np.bincount(inverse, minlength=len(written))
    return EncodableEvents(
        chunk,
        [
            FieldColumn(SOURCE_KEY, source_slots, names, inverse),
            *(FieldColumn(column.key, moved[column.slots], column.values, column.inverse) for column in columns),
        ],
        field_counts + 1,
        [CountedValues("events", SOURCE_KEY, written, list(names), counts), *counted],
    )


def profile_columns(chunk: ProfileChunk, rules: ValueRules | None) -> EncodableProfiles:
    """Columns of each profile's items, attributes by key and then milestones as given, as ``rules`` read them."""
    n_users = len(chunk.user_ids)
    users = np.arange(n_users)
    attribute_users = np.repeat(users, chunk.attribute_counts)
    key_rank = pa.compute.rank(chunk.attribute_keys, tiebreaker="dense").to_numpy().astype(np.int64)
    by_key = np.lexsort((key_rank, attribute_users))
    keys = pa.concat_arrays([chunk.attribute_keys.take(pa.array(by_key)), chunk.milestone_keys])
    values = pa.concat_arrays([chunk.attribute_values.take(pa.array(by_key)), chunk.milestone_keys])
    times = np.concatenate([np.full(len(by_key), -1), np.arange(len(chunk.milestone_keys))])
    # A stable sort by user puts each user's attributes before the milestones.
    order = np.argsort(np.concatenate([attribute_users, np.repeat(users, chunk.milestone_counts)]), kind="stable")
    table, times = FieldTable(keys.take(pa.array(order)), values.take(pa.array(order))), times[order]
    parts = (times >= 0).astype(np.int64)
    columns, present, counted = _read_columns(table.columns(), parts, ("attributes", "milestones"), rules)
    item_counts = _true_counts(present, chunk.attribute_counts + chunk.milestone_counts)
    return EncodableProfiles(chunk, columns, item_counts, times[present], counted)


def _read_columns(
    columns: Iterable[FieldColumn], part_of: Int64, parts: tuple[Part, ...], rules: ValueRules | None
) -> tuple[list[FieldColumn], npt.NDArray[np.bool_], list[CountedValues]]:
    """The columns without what is missing or dropped, their slots closed up; which slots are left, bool [n_slots].

    ``part_of`` int64 [n_slots] says of which of ``parts`` a slot is. Without ``rules`` everything stays as written, and
    only the counts say what the default rules would call missing.
    """
    present = np.ones(len(part_of), np.bool_)
    kept, counted = [], []
    for column in columns:
        assert column.inverse is not None, "columns of Arrow data have distinct values"
        read = [*map((rules or ValueRules()).read, column.values)]
        for number, part in enumerate(parts):
            of_part = column.inverse if len(parts) == 1 else column.inverse[part_of[column.slots] == number]
            if len(of_part):
                counts = np.bincount(of_part, minlength=len(read))
                counted.append(CountedValues(part, column.key, column.values, read, counts))
        if rules is None:
            kept.append(column)
            continue
        if column.key in rules.dropped:
            present[column.slots] = False
            continue
        known = np.fromiter((value is not None for value in read), np.bool_, len(read))
        rows = known[column.inverse]
        present[column.slots[~rows]] = False
        values = [value for value in read if value is not None]
        kept.append(FieldColumn(column.key, column.slots[rows], values, _places(known)[column.inverse[rows]]))
    if present.all():
        return kept, present, counted
    places = _places(present)
    closed = [FieldColumn(column.key, places[column.slots], column.values, column.inverse) for column in kept]
    return [column for column in closed if len(column.slots)], present, counted


def _places(mask: npt.NDArray[np.bool_]) -> Int64:
    """Where each True of a mask is among the True ones, int64 [n]."""
    return cu_seqlens(mask.astype(np.int64))[:-1]


def _true_counts(mask: npt.NDArray[np.bool_], lengths: Int64) -> Int64:
    """How many of each sequence's rows are True, int64 [n_sequences]."""
    counts: Int64 = np.diff(cu_seqlens(mask.astype(np.int64))[cu_seqlens(lengths)])
    return counts
