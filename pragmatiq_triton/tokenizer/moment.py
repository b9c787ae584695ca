"""A history as it was at an earlier moment: nothing that happened later can be seen, nor how long ago it now is.

Attributes carry no time of their own and are taken as lasting.
"""

from dataclasses import replace
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from pragmatiq_triton.records import Record
from pragmatiq_triton.tokenizer.assemble import NO_TIME, EncodedRecord

_Number = TypeVar("_Number", bound=np.number)


def record_before(record: Record, eval_ts: int) -> Record:
    """The record with what happened strictly before ``eval_ts`` (microseconds), judged as of then."""
    return msgspec.structs.replace(
        record,
        events=[event for event in record.events if event.ts < eval_ts],
        lifelong=[item for item in record.lifelong if item.ts < eval_ts],
        as_of=eval_ts,
    )


def first_events(record: EncodedRecord, n_events: int) -> EncodedRecord:
    """The record with its oldest ``n_events`` events."""
    n_tokens = int(record.event_lengths[:n_events].sum())
    return replace(
        record,
        tokens=record.tokens[:n_tokens],
        numbers=record.numbers[:n_tokens],
        event_lengths=record.event_lengths[:n_events],
        event_ts=record.event_ts[:n_events],
    )


def encoded_before(record: EncodedRecord, eval_ts: int) -> EncodedRecord:
    """:func:`record_before` of a record that is encoded already."""
    kept = (record.item_ts == NO_TIME) | (record.item_ts < eval_ts)
    return replace(
        first_events(record, int(np.searchsorted(record.event_ts, eval_ts, side="left"))),
        profile=record.profile[np.repeat(kept, record.item_lengths)],
        item_lengths=record.item_lengths[kept],
        item_ts=record.item_ts[kept],
        as_of=eval_ts,
    )


def encoded_until(record: EncodedRecord, event: int) -> EncodedRecord:
    """The record as it was when event number ``event`` came: what lies strictly before it and the event itself.

    Others of the same microsecond are left out, milestones too: nobody knows that they came before it, and a card is
    blocked in the moment of the fraud.
    """
    at = int(record.event_ts[event])
    before = encoded_before(record, at)
    first = int(record.event_lengths[:event].sum())
    own = slice(first, first + int(record.event_lengths[event]))
    return replace(
        before,
        tokens=_appended(record.tokens, len(before.tokens), own),
        numbers=_appended(record.numbers, len(before.tokens), own),
        event_lengths=_appended(record.event_lengths, len(before.event_ts), slice(event, event + 1)),
        event_ts=_appended(record.event_ts, len(before.event_ts), slice(event, event + 1)),
    )


def _appended(values: npt.NDArray[_Number], n_before: int, own: slice) -> npt.NDArray[_Number]:
    """The first ``n_before`` values and those of ``own``, without a copy where they follow one another."""
    if own.start == n_before:
        return values[: own.stop]
    return np.concatenate([values[:n_before], values[own]])
