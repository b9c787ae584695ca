"""From encoded tokens with absolute times to what the network reads: cuts, log-seconds and the calendar."""

from dataclasses import dataclass, replace

import numpy as np

from pragmatiq_triton.batch import Float32, Int32, Int64, UserFeatures
from pragmatiq_triton.tokenizer.config import TokenizerConfig
from pragmatiq_triton.tokenizer.times import calendar, log_seconds

NO_TIME = np.iinfo(np.int64).min
"""The time of a profile item that has none: an attribute."""


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """One user's tokens with absolute times (microseconds since the epoch), oldest event first.

    ``tokens`` int32 [n_tokens, 4], ``numbers`` float32 [n_tokens] the values of fields of numbers (NaN elsewhere),
    ``event_lengths`` int64 [n_events] tokens each, ``event_ts`` int64 [n_events];
    ``profile`` int32 [n_profile, 3], ``item_lengths`` and ``item_ts`` int64 [n_items], ``NO_TIME`` for an attribute.
    """

    tokens: Int32
    numbers: Float32
    event_lengths: Int64
    event_ts: Int64
    profile: Int32
    item_lengths: Int64
    item_ts: Int64
    as_of: int
    texts: tuple[str, ...] = ()


def assemble(record: EncodedRecord, config: TokenizerConfig) -> UserFeatures:
    """Keep the newest events and the leading profile items that fit, and measure their times.

    Event times count back from the newest event; milestones count back from ``as_of``, from the newest event where
    ``as_of`` is unset, and from the newest milestone where there is no event either.
    """
    record = newest(record, config.max_events_per_user)
    lengths, ts = record.event_lengths, record.event_ts
    hour, day_of_week, day_of_month = calendar(ts, config.calendar_tz)
    elapsed = ts[-1] - ts if len(ts) else ts
    events = np.stack([lengths, log_seconds(elapsed), hour, day_of_week, day_of_month], axis=1).astype(np.float32)

    kept = int(np.searchsorted(np.cumsum(record.item_lengths), config.max_profile_tokens, side="right"))
    item_lengths, item_ts = record.item_lengths[:kept], record.item_ts[:kept]
    timed = item_ts != NO_TIME
    item_times = np.zeros(kept, np.float32)
    item_times[timed] = log_seconds(np.maximum(reference_time(record) - item_ts[timed], 0))
    return UserFeatures(
        tokens=record.tokens,
        events=events,
        profile=record.profile[: int(item_lengths.sum())],
        profile_times=np.repeat(item_times, item_lengths),
        texts=record.texts,
    )


def newest(record: EncodedRecord, most: int) -> EncodedRecord:
    """The record with its newest ``most`` events."""
    first = len(record.event_ts) - most
    if first <= 0:
        return record
    first_token = int(record.event_lengths[:first].sum())
    return replace(
        record,
        tokens=record.tokens[first_token:],
        numbers=record.numbers[first_token:],
        event_lengths=record.event_lengths[first:],
        event_ts=record.event_ts[first:],
    )


def reference_time(record: EncodedRecord) -> int:
    """The moment that the record is judged at, microseconds."""
    if record.as_of > 0:
        return record.as_of
    if len(record.event_ts):
        return int(record.event_ts[-1])
    return int(record.item_ts.max(initial=NO_TIME))
