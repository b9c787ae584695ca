"""A history as it was at an earlier moment: nothing that happened later can be seen, nor how long ago it now is.

Attributes carry no time of their own and are taken as lasting.
"""

from dataclasses import replace

import msgspec
import numpy as np

from pragmatiq_triton.records import Record
from pragmatiq_triton.tokenizer.assemble import NO_TIME, EncodedRecord


def record_before(record: Record, eval_ts: int) -> Record:
    """The record with what happened strictly before ``eval_ts`` (microseconds), judged as of then."""
    return msgspec.structs.replace(
        record,
        events=[event for event in record.events if event.ts < eval_ts],
        lifelong=[item for item in record.lifelong if item.ts < eval_ts],
        as_of=eval_ts,
    )


def encoded_before(record: EncodedRecord, eval_ts: int) -> EncodedRecord:
    """:func:`record_before` of a record that is encoded already."""
    n_events = int(np.searchsorted(record.event_ts, eval_ts, side="left"))
    n_tokens = int(record.event_lengths[:n_events].sum())
    kept = (record.item_ts == NO_TIME) | (record.item_ts < eval_ts)
    return replace(
        record,
        tokens=record.tokens[:n_tokens],
        numbers=record.numbers[:n_tokens],
        event_lengths=record.event_lengths[:n_events],
        event_ts=record.event_ts[:n_events],
        profile=record.profile[np.repeat(kept, record.item_lengths)],
        item_lengths=record.item_lengths[kept],
        item_ts=record.item_ts[kept],
        as_of=eval_ts,
    )


def encoded_until(record: EncodedRecord, event_ts: int) -> EncodedRecord:
    """The record up to and including the events at ``event_ts``, judged as of then."""
    return replace(encoded_before(record, event_ts + 1), as_of=event_ts)
