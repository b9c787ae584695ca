"""The tokenizer as a server needs it: what a caller sends again is looked up, not encoded again."""

from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from sys import getsizeof
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Int64, Token, UserFeatures, cu_seqlens
from pragmatiq_triton.cache.fingerprints import Fingerprints
from pragmatiq_triton.cache.records import RecordCache
from pragmatiq_triton.cache.vectors import as_numbers
from pragmatiq_triton.errors import RecordError
from pragmatiq_triton.records import (
    Event,
    Milestone,
    Number,
    Record,
    RecordLimits,
    Scalar,
    check_limits,
    check_milestones,
    decode_record,
)
from pragmatiq_triton.time_range import TimeRange
from pragmatiq_triton.tokenizer.assemble import EncodedRecord
from pragmatiq_triton.tokenizer.moment import encoded_before
from pragmatiq_triton.tokenizer.raw_record import UNREADABLE, RawEvent, SplitRecord, split_record
from pragmatiq_triton.tokenizer.tokenizer import EncodedProfile, Tokenizer, number_texts
from pragmatiq_triton.tokenizer.vocabulary import UNK, Vocabulary

PROFILES_SHARE = 8
"""One byte in so many of the cache's is for profiles."""

PIECES_SHARE = 8
"""One byte in so many is for the BPE pieces of texts, where there are some."""

PIECE_OF_WORK = 16 * 1024
"""Bytes of long texts that are encoded in one go, or 256 short events: 5 ms, more where all texts are new."""

_EVENT_WORK = 64
_SHORT_EVENT = 192
"""An event of up to so many bytes costs as much as ``_EVENT_WORK`` bytes of a long text, mostly for itself."""

_HEADER = np.dtype(
    [("key", np.uint64, 2), ("tokens", np.int32), ("uncut", np.int32), ("unknown", np.int32), ("unread", np.int32)]
)
"""Of an event: its fingerprint; its tokens, as they would be without the cut, and those that are [UNK]; characters of
texts that were not read."""


Steps = Generator[None, None, UserFeatures]
"""Work on one record; between two pieces of it others may have their turn."""


class KeptEvent(msgspec.Struct, frozen=True, gc=False):
    """An event without its time, as bytes of which a record's arrays are put together.

    ``header`` is one ``_HEADER``; ``tokens``, ``numbers`` and ``strings`` are one event's of
    :class:`~pragmatiq_triton.tokenizer.tokenizer.EncodedEvents`.
    """

    header: bytes
    tokens: bytes
    numbers: bytes
    strings: tuple[str, ...]
    n_fields: int

    @property
    def n_bytes(self) -> int:
        return sum(map(getsizeof, (self, self.header, self.tokens, self.numbers, self.strings, *self.strings)))


class KeptProfile(msgspec.Struct, frozen=True, gc=False):
    """A profile with absolute times."""

    encoded: EncodedProfile
    n_fields: int

    @property
    def n_bytes(self) -> int:
        return sum(map(getsizeof, (self, self.encoded, *self.encoded)))


@dataclass(slots=True)
class Totals:
    """What was read since the start, and what of it the network does not see for the tokenizer's settings."""

    events: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    cut_events: int = 0
    cut_event_tokens: int = 0
    cut_profile_tokens: int = 0
    unread_characters: int = 0


class CachedTokenizer:
    """From a record's JSON to what ``tokenizer(decode_record(raw, limits, times))`` makes of it, with ``event_keys``.

    Events and profiles are kept by their raw bytes, within ``max_bytes`` in all; 0 keeps nothing. The same content in
    another spelling (white space, order of fields) is encoded again. One thread at a time; counters may be read by
    others.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        limits: RecordLimits,
        max_bytes: int,
        fingerprints: Fingerprints,
        times: TimeRange | None = None,
    ) -> None:
        self.config = tokenizer.config
        self.vocabulary = tokenizer.vocabulary
        self.times = tokenizer.vocabulary.times if times is None else times
        self.totals = Totals()
        self.pieces = self._piece_cache(tokenizer.vocabulary, max_bytes // PIECES_SHARE)
        self.profiles: RecordCache[bytes, KeptProfile] = RecordCache(max_bytes // PROFILES_SHARE)
        rest = max_bytes - self.profiles.max_bytes - (self.pieces.max_bytes if self.pieces is not None else 0)
        self.events: RecordCache[bytes, KeptEvent] = RecordCache(rest)
        self.own = tokenizer.own
        self._tokenizer = tokenizer
        self._limits = limits
        self._fingerprints = fingerprints
        self._keeps_numbers = tokenizer.features.reads_numbers

    def __call__(self, raw: bytes) -> UserFeatures:
        """Read and tokenize one record; raises what :func:`~pragmatiq_triton.records.decode_record` raises."""
        steps = self.steps(raw, self.split(raw))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                user: UserFeatures = end.value
                return user

    def split(self, raw: bytes) -> SplitRecord | None:
        """The record cut at its events; None where only reading it whole can tell what it is."""
        if len(raw) > self._limits.max_record_bytes:
            return None
        split = split_record(raw)
        return split if split and len(split.ts) <= self._limits.max_events else None

    def steps(self, raw: bytes, split: SplitRecord | None) -> Steps:
        """Look up and encode what :meth:`split` made of ``raw``, in pieces of bounded work between which it yields.

        What breaks the contract is read whole, to say how.
        """
        if split:
            newest, n_seen = self._newest(split.ts, split.eval_ts)
            found = yield from self._find(split, newest)
            if found:
                return self._user(split.ts[newest], n_seen, *found, split.as_of, split.eval_ts, split.features)
            yield
        record = decode_record(raw, self._limits, self.times)
        yield
        ts = np.asarray([event.ts for event in record.events], np.int64)
        newest, n_seen = self._newest(ts, record.eval_ts)
        read = [record.events[i] for i in newest.tolist()]
        events: list[KeptEvent] = []
        for part in _pieces_of_work([_work_of(_size_of(event)) for event in read]):
            events += self._encode_events(read[part])
            yield
        profile = self._encode_profile(record.attributes, record.lifelong)
        return self._user(ts[newest], n_seen, events, profile, record.as_of, record.eval_ts, record.features)

    def _newest(self, ts: Int64, eval_ts: int) -> tuple[Int64, int]:
        """The events that the network sees, oldest first, int64 [n]; and how many there are before ``eval_ts``."""
        seen = np.flatnonzero(ts < eval_ts) if eval_ts > 0 else np.arange(len(ts))
        return seen[np.argsort(ts[seen], kind="stable")][-self.config.max_events_per_user :], len(seen)

    def _find(
        self, split: SplitRecord, newest: Int64
    ) -> Generator[None, None, tuple[list[KeptEvent], KeptProfile] | None]:
        """The events ``newest`` of a record and its profile; None where it breaks the contract or a limit."""
        if len(self.times.outside(split.ts)) or any(at and at not in self.times for at in (split.as_of, split.eval_ts)):
            return None
        keys = split.event_keys
        events = self.events.find(keys)
        (profile,) = self.profiles.find([split.profile_key])
        new: dict[bytes, KeptEvent] = {}
        n_fields: dict[bytes, int] = {}
        try:
            if not all(events):
                columns = zip(keys, split.raw.events, events, strict=True)
                missing = {key: event for key, event, kept in columns if kept is None}
                new = yield from self._encode_missing(missing, {keys[i] for i in newest.tolist()}, n_fields)
            if profile is None:
                yield
                attributes, lifelong = split.decode_profile()
                check_limits(Record([], attributes=attributes, lifelong=lifelong), self._limits)
                check_milestones(lifelong)
                profile = self._encode_profile(attributes, lifelong)
        except (*UNREADABLE, RecordError):
            return None
        counts = [event.n_fields if event else n_fields[key] for key, event in zip(keys, events, strict=True)]
        n_profile = profile.n_fields + len(split.features)
        if sum(counts) + n_profile > self._limits.max_fields or n_profile > self._limits.max_profile_items:
            return None
        for key, event in new.items():
            self.events.put(key, event)
        self.profiles.put(split.profile_key, profile)
        return [events[i] or new[keys[i]] for i in newest.tolist()], profile

    def _encode_missing(
        self, missing: Mapping[bytes, RawEvent], seen: Container[bytes], n_fields: dict[bytes, int]
    ) -> Generator[None, None, dict[bytes, KeptEvent]]:
        """Check all of ``missing``, note their ``n_fields``, and encode those that are ``seen``."""
        keys = [*missing]
        encoded: dict[bytes, KeptEvent] = {}
        for part in _pieces_of_work([_work_of(len(key)) for key in keys]):
            decoded = {key: missing[key].decode() for key in keys[part]}
            # Checked before they are encoded: a limit is there to spare that work. What is kept has passed already.
            check_limits(Record([*decoded.values()]), self._limits)
            n_fields.update((key, len(event.fields)) for key, event in decoded.items())
            wanted = {key: event for key, event in decoded.items() if key in seen}
            if wanted:
                encoded.update(zip(wanted, self._encode_events([*wanted.values()]), strict=True))
            yield
        return encoded

    @staticmethod
    def _piece_cache(vocabulary: Vocabulary, max_bytes: int) -> RecordCache[str, Any] | None:
        if vocabulary.config.embeds_text or vocabulary.bpe is None:
            return None
        vocabulary.bpe.cache.max_bytes = max_bytes
        return vocabulary.bpe.cache

    def _encode_events(self, events: Sequence[Event]) -> list[KeptEvent]:
        encoded = self._tokenizer.encode_events(events)
        is_text = encoded.tokens[:, Token.TEXT] >= 0
        # A text token's value is its string; the id beside it says nothing.
        is_unknown = (encoded.tokens[:, Token.VALUE] == UNK) & ~is_text | (encoded.tokens[:, Token.KEY] == UNK)
        stops = cu_seqlens(encoded.lengths)
        tokens = _cut(encoded.tokens, stops)
        numbers = _cut(encoded.numbers, stops) if self._keeps_numbers else [b""] * len(events)
        text_stops = cu_seqlens(is_text.astype(np.int64))[stops].tolist()
        strings = [tuple(encoded.strings[start:stop]) for start, stop in pairwise(text_stops)]

        headers = np.zeros(len(events), _HEADER)
        headers["key"] = as_numbers(b"".join(map(self._fingerprints, tokens, strings)))
        headers["tokens"] = encoded.lengths
        headers["uncut"] = encoded.uncut_lengths
        headers["unread"] = encoded.unread
        headers["unknown"] = np.diff(cu_seqlens(is_unknown.astype(np.int64))[stops])
        n_fields = [len(event.fields) for event in events]
        return [*map(KeptEvent, _cut(headers, np.arange(len(events) + 1)), tokens, numbers, strings, n_fields)]

    def _encode_profile(self, attributes: Mapping[str, Scalar], lifelong: Sequence[Milestone]) -> KeptProfile:
        tokens, item_lengths, item_ts = self._tokenizer.encode_profile(attributes, lifelong)
        kept = EncodedProfile(tokens.copy(), item_lengths, item_ts)
        array: npt.NDArray[Any]
        for array in kept:
            array.setflags(write=False)
        return KeptProfile(kept, len(attributes) + len(lifelong))

    def _user(
        self,
        ts: Int64,
        n_seen: int,
        kept: list[KeptEvent],
        profile: KeptProfile,
        as_of: int,
        eval_ts: int,
        features: Mapping[str, Number],
    ) -> UserFeatures:
        """Put a record together of its newest events, as :meth:`~pragmatiq_triton.tokenizer.Tokenizer.encode` does."""
        headers = np.frombuffer(b"".join([event.header for event in kept]), _HEADER)
        tokens = np.frombuffer(bytearray().join([event.tokens for event in kept]), np.int32).reshape(-1, 4)
        encoded = EncodedRecord(
            tokens=tokens,
            numbers=np.frombuffer(b"".join([event.numbers for event in kept]), np.float32),
            event_lengths=headers["tokens"].astype(np.int64),
            event_ts=ts,
            profile=profile.encoded.tokens,
            item_lengths=profile.encoded.item_lengths,
            item_ts=profile.encoded.item_ts,
            as_of=as_of,
            texts=number_texts(tokens, [*chain.from_iterable([event.strings for event in kept])]),
        )
        if eval_ts > 0:
            encoded = encoded_before(encoded, eval_ts)
        user = self._tokenizer.user(encoded, features)
        self.own.count(features)
        self._count(headers, n_seen, int(encoded.item_lengths.sum()) - len(user.profile))
        return replace(user, event_keys=np.ascontiguousarray(headers["key"]))

    def _count(self, headers: npt.NDArray[np.void], n_events: int, cut_profile_tokens: int) -> None:
        totals, n_tokens = self.totals, int(headers["tokens"].sum())
        totals.events += len(headers)
        totals.tokens += n_tokens
        totals.unknown_tokens += int(headers["unknown"].sum())
        totals.cut_events += n_events - len(headers)
        totals.cut_event_tokens += int(headers["uncut"].sum()) - n_tokens
        totals.unread_characters += int(headers["unread"].sum())
        totals.cut_profile_tokens += cut_profile_tokens


def _work_of(n_bytes: int) -> int:
    """What encoding an event of so many bytes costs, in ``PIECE_OF_WORK``'s unit."""
    return _EVENT_WORK + max(0, n_bytes - _SHORT_EVENT)


def _size_of(event: Event) -> int:
    """About the bytes of an event's JSON."""
    return sum([len(key) + (len(value) if type(value) is str else 8) for key, value in event.fields.items()])


def _pieces_of_work(sizes: Sequence[int]) -> Iterator[slice]:
    """Slices of what has these ``sizes``, each of about ``PIECE_OF_WORK``."""
    start = total = 0
    for stop, size in enumerate(sizes):
        if total and total + size > PIECE_OF_WORK:
            yield slice(start, stop)
            start, total = stop, 0
        total += size
    if sizes:
        yield slice(start, len(sizes))


def _cut(rows: npt.NDArray[Any], stops: Int64) -> list[bytes]:
    """The bytes of each sequence of rows, which end at ``stops[1:]``."""
    held, row_bytes = rows.tobytes(), rows.strides[0]
    return [held[start:stop] for start, stop in pairwise((stops * row_bytes).tolist())]
