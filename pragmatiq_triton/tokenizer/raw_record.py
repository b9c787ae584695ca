"""A record's JSON cut at its events, without reading into them: an event whose bytes are known needs no more."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from pragmatiq_triton import records
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.records import Event, Milestone, Number, Scalar

ABSENT = msgspec.Raw()
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading JSON that breaks the record's contract raises."""

_LARGE = 1024 * 1024
_QUOTE = b'"'

_decode_text = msgspec.json.Decoder(str).decode
_decode_id = msgspec.json.Decoder(str | int).decode
_decode_fields = msgspec.json.Decoder(dict[str, Scalar]).decode
_decode_features = msgspec.json.Decoder(dict[str, Number]).decode
_decode_milestones = msgspec.json.Decoder(list[Milestone]).decode


class RawEvent(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """:class:`~pragmatiq_triton.records.Event` with its content as it was sent."""

    ts: records.Int64
    source: msgspec.Raw
    fields: msgspec.Raw = ABSENT
    event_id: msgspec.Raw = ABSENT

    def decode(self) -> Event:
        """The event, checked; raises one of ``UNREADABLE``."""
        fields = {} if self.fields is ABSENT else _decode_fields(self.fields)
        return Event(self.ts, _decode_text(self.source), fields)


class RawRecord(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """:class:`~pragmatiq_triton.records.Record` with events, names and profile as they were sent."""

    events: list[RawEvent]
    user_id: msgspec.Raw = ABSENT
    attributes: msgspec.Raw = ABSENT
    lifelong: msgspec.Raw = ABSENT
    as_of: records.Int64 | msgspec.UnsetType = msgspec.UNSET
    eval_ts: records.Int64 | msgspec.UnsetType = msgspec.UNSET
    features: msgspec.Raw = ABSENT


@dataclass(frozen=True, slots=True)
class SplitRecord:
    """A record's outline: valid but for what its events and its profile hold.

    ``event_keys[i]`` are the bytes of an event's source and fields, which say all but its time; ``profile_key`` are
    those of attributes and milestones. Two JSON values end to end can be told apart, so different contents have
    different keys; of a profile it is also said which of the two is which. ``ts`` int64 [n_events]. ``features`` are
    the caller's own.
    """

    ts: Int64
    event_keys: list[bytes]
    profile_key: bytes
    as_of: int
    eval_ts: int
    features: dict[str, Number]
    raw: RawRecord

    def decode_profile(self) -> tuple[dict[str, Scalar], list[Milestone]]:
        """Attributes and milestones, checked; raises one of ``UNREADABLE``."""
        attributes, lifelong = self.raw.attributes, self.raw.lifelong
        return (
            {} if attributes is ABSENT else _decode_fields(attributes),
            [] if lifelong is ABSENT else _decode_milestones(lifelong),
        )


_decode_record = msgspec.json.Decoder(RawRecord).decode


def split_record(json: bytes) -> SplitRecord | None:
    """Cut a record; None where it is not regular, and has to be read whole to tell what it holds or what is wrong."""
    try:
        raw = _decode_record(json)
        if raw.user_id is not ABSENT:
            _decode_text(raw.user_id)
        event_ids = [event.event_id for event in raw.events if event.event_id is not ABSENT]
        for event_id in event_ids:
            _decode_id(event_id)
        features = {} if raw.features is ABSENT else _decode_features(raw.features)
    except UNREADABLE:
        return None
    event_keys = [b"".join((event.source, event.fields)) for event in raw.events]
    # What is valid as attributes is not valid as milestones: found in the cache, it would not be looked at again.
    profile_key = b"|".join((raw.attributes, raw.lifelong))
    # A member given twice would go unread the first time. Outside of the values that were cut out, each member has
    # two quotation marks, those around its name, however the name is escaped and whatever the space between.
    at_once = len(json) < _LARGE
    values = (*event_keys, *event_ids, profile_key, raw.user_id, raw.features)
    outside = _n_quotes((json,), at_once) - _n_quotes(values, at_once)
    if outside != 2 * (_n_members(raw) + len(event_ids)):
        return None
    return SplitRecord(
        ts=np.asarray([event.ts for event in raw.events], np.int64),
        event_keys=event_keys,
        profile_key=profile_key,
        as_of=0 if raw.as_of is msgspec.UNSET else raw.as_of,
        eval_ts=0 if raw.eval_ts is msgspec.UNSET else raw.eval_ts,
        features=features,
        raw=raw,
    )


def _n_members(raw: RawRecord) -> int:
    """Members of the record and of its events but their ids, each counted once."""
    without_fields = len([True for event in raw.events if event.fields is ABSENT])
    optional = sum(value is not ABSENT for value in (raw.user_id, raw.attributes, raw.lifelong, raw.features))
    times = sum(value is not msgspec.UNSET for value in (raw.as_of, raw.eval_ts))
    return 1 + optional + times + 3 * len(raw.events) - without_fields


def _n_quotes(pieces: Sequence[bytes | msgspec.Raw], at_once: bool) -> int:
    """At once, or piece by piece where that would copy megabytes: fresh memory is the dearest part of it."""
    if at_once:
        return int(np.count_nonzero(np.frombuffer(b"".join(pieces), np.uint8) == ord(_QUOTE)))
    return sum(bytes(piece).count(_QUOTE) for piece in pieces)
