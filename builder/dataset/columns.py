"""Arrow columns of a chunk as the tokenizer's field columns, without a Python loop over rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from builder.prefetch import prefetched
from builder.raw import EventChunk, ProfileChunk, read_events
from pragmatiq_triton.batch import Int64, cu_seqlens
from pragmatiq_triton.tokenizer.fields import FieldColumn
from pragmatiq_triton.tokenizer.tokenizer import SOURCE_KEY


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
class EncodableEvents:
    """A chunk with its fields as columns, the source before each event's own, and fields per event int64 [n_events]."""

    chunk: EventChunk
    columns: list[FieldColumn]
    field_counts: Int64


def read_event_columns(data: Path) -> Iterator[EncodableEvents]:
    """Stream ``events.parquet`` as columns; reading and sorting into columns go on while a chunk is worked on."""
    return prefetched(EncodableEvents(chunk, *event_columns(chunk)) for chunk in read_events(data))


def event_columns(chunk: EventChunk) -> tuple[list[FieldColumn], Int64]:
    """Columns of all fields of the chunk, the source before each event's own; and fields per event int64 [n_events]."""
    n_events = len(chunk.ts)
    shift = np.arange(1, n_events + 1)
    # Every event's fields move up by one slot per source that stands before them.
    moved = np.arange(len(chunk.keys)) + np.repeat(shift, chunk.field_counts)
    source_slots = cu_seqlens(chunk.field_counts)[:-1] + shift - 1
    sources = chunk.sources.dictionary_encode()
    columns = [
        FieldColumn(
            SOURCE_KEY, source_slots, sources.dictionary.to_pylist(), sources.indices.to_numpy().astype(np.int64)
        )
    ]
    for column in FieldTable(chunk.keys, chunk.values).columns():
        columns.append(FieldColumn(column.key, moved[column.slots], column.values, column.inverse))
    return columns, chunk.field_counts + 1


def profile_columns(chunk: ProfileChunk) -> tuple[list[FieldColumn], Int64, Int64]:
    """Columns of each profile's items, attributes by key and then milestones as given.

    Also the items per user int64 [n_users], and where each item's time is among ``milestone_ts``, -1 for attributes.
    """
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
    table = FieldTable(keys.take(pa.array(order)), values.take(pa.array(order)))
    return list(table.columns()), chunk.attribute_counts + chunk.milestone_counts, times[order]
