"""One record in, the network's numbers out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pragmatiq_triton.batch import Float32, Int32, Int64, Token, UserFeatures, cu_seqlens
from pragmatiq_triton.records import Event, Milestone, Number, Record, Scalar, text_of
from pragmatiq_triton.tokenizer.assemble import NO_TIME, EncodedRecord, assemble, newest
from pragmatiq_triton.tokenizer.features import FeatureLevel, HistoryFeatures
from pragmatiq_triton.tokenizer.fields import SOURCE_KEY, TextNumbering, cut_tails, encode_fields, group_values
from pragmatiq_triton.tokenizer.moment import record_before
from pragmatiq_triton.tokenizer.own_features import OwnFeatures, column_names
from pragmatiq_triton.tokenizer.values import canonical
from pragmatiq_triton.tokenizer.vocabulary import Vocabulary


class EncodedEvents(NamedTuple):
    """Events' tokens end to end, cut: ``tokens`` int32 [n_tokens, 4], in the text column 0 for a text token or -1.

    ``numbers`` float32 [n_tokens] as in :class:`~pragmatiq_triton.tokenizer.assemble.EncodedRecord`; ``lengths`` and,
    before the cut, ``uncut_lengths`` int64 [n_events] in tokens; ``strings``: the raw string of each text token;
    ``unread`` int64 [n_events]: characters of long texts that were not read, whose tokens would have been cut.
    """

    tokens: Int32
    numbers: Float32
    lengths: Int64
    uncut_lengths: Int64
    strings: list[str]
    unread: Int64


class EncodedProfile(NamedTuple):
    """``tokens`` int32 [n_profile, 3]; ``item_lengths`` and ``item_ts`` int64 [n_items], ``NO_TIME`` for attributes."""

    tokens: Int32
    item_lengths: Int64
    item_ts: Int64


class Tokenizer:
    """Encodes records with a fitted vocabulary; stateless between records."""

    def __init__(self, vocabulary: Vocabulary, features: FeatureLevel = "none", own: OwnFeatures | None = None) -> None:
        self.vocabulary = vocabulary
        self.config = vocabulary.config
        self.features = HistoryFeatures.of(vocabulary, features)
        self.own = own or OwnFeatures()

    @classmethod
    def load(cls, folder: Path, features: FeatureLevel = "none", own: OwnFeatures | None = None) -> "Tokenizer":
        """Read a tokenizer folder, ours or the upstream toolkit's."""
        return cls(Vocabulary.load(folder), features, own)

    @property
    def feature_names(self) -> list[str]:
        """A name for each column of a user's ``features``."""
        return [*self.features.names, *column_names(self.own.names)]

    def __call__(self, record: Record) -> UserFeatures:
        """What the network and the task heads read of this record."""
        return self.user(self.encode(record), record.features)

    def user(self, encoded: EncodedRecord, features: Mapping[str, Number] | None = None) -> UserFeatures:
        """What the network and the task heads read of an encoded record, of its newest events.

        ``features`` are those that the record brings.
        """
        encoded = newest(encoded, self.config.max_events_per_user)
        read = self.features(encoded)
        if self.own.names:
            read = np.concatenate([read, self.own(features or {})])
        return replace(assemble(encoded, self.config), features=read)

    def encode(self, record: Record) -> EncodedRecord:
        """Tokens of the newest events and of the whole profile, with absolute times.

        A record with an ``eval_ts`` is read as it was then.
        """
        if record.eval_ts > 0:
            record = record_before(record, record.eval_ts)
        events = sorted(record.events, key=lambda event: event.ts)[-self.config.max_events_per_user :]
        encoded = self.encode_events(events)
        profile = self.encode_profile(record.attributes, record.lifelong)
        return EncodedRecord(
            tokens=encoded.tokens,
            numbers=encoded.numbers,
            event_lengths=encoded.lengths,
            event_ts=np.asarray([event.ts for event in events], np.int64),
            profile=profile.tokens,
            item_lengths=profile.item_lengths,
            item_ts=profile.item_ts,
            as_of=record.as_of,
            texts=number_texts(encoded.tokens, encoded.strings),
        )

    def encode_events(self, events: Sequence[Event]) -> EncodedEvents:
        """Tokens of events, whatever their order and their times."""
        read = [[(SOURCE_KEY, self._source(event.source)), *self._fields(event.fields)] for event in events]
        columns, n_fields = group_values(chain.from_iterable(read), self.vocabulary.kind)
        texts = TextNumbering() if self.config.embeds_text else None
        fields = encode_fields(columns, n_fields, self.vocabulary, texts, self.config.max_event_tokens)
        first_fields = cu_seqlens([len(pairs) for pairs in read])[:-1]
        uncut_lengths, unread = (
            np.add.reduceat(each, first_fields) if events else np.zeros(0, np.int64)
            for each in (fields.counts, fields.unread)
        )
        kept, lengths = cut_tails(uncut_lengths, self.config.max_event_tokens)
        tokens = fields.tokens[kept]
        is_text = tokens[:, Token.TEXT] >= 0
        strings = [texts.texts[number] for number in tokens[is_text, Token.TEXT].tolist()] if texts else []
        tokens[is_text, Token.TEXT] = 0
        return EncodedEvents(tokens, fields.numbers[kept], lengths, uncut_lengths, strings, unread)

    def encode_profile(self, attributes: Mapping[str, Scalar], lifelong: Sequence[Milestone]) -> EncodedProfile:
        """Tokens of a profile: attributes by name, then milestones."""
        named = sorted(self._fields(attributes))
        timed = [(pair, item.ts) for item in lifelong for pair in self._fields({item.key: item.key})]
        columns, n_items = group_values([*named, *(pair for pair, _ in timed)], self.vocabulary.kind)
        items = encode_fields(columns, n_items, self.vocabulary, None, self.config.profile_reach)
        return EncodedProfile(
            tokens=items.tokens[:, : Token.TEXT],
            item_lengths=items.counts,
            item_ts=np.asarray([NO_TIME] * len(named) + [ts for _, ts in timed], np.int64),
        )

    def _source(self, source: str) -> str:
        """An event's source, which is never missing: without it there would be no token of the event."""
        return source if self.vocabulary.rules is None else canonical(source)

    def _fields(self, fields: Mapping[str, Scalar]) -> list[tuple[str, str]]:
        """Names and values as the vocabulary knows them, without those that are missing or dropped."""
        rules = self.vocabulary.rules
        if rules is None:
            return [(key, text_of(value)) for key, value in fields.items()]
        read = ((key, rules.read_field(key, text_of(value))) for key, value in fields.items())
        return [(key, value) for key, value in read if value is not None]


def number_texts(tokens: Int32, strings: Sequence[str]) -> tuple[str, ...]:
    """Point text tokens, in order, at their ``strings``: the distinct ones in the order of their first appearance.

    Writes the text column of ``tokens`` int32 [n_tokens, 4] where it is not -1.
    """
    texts = TextNumbering()
    if strings:
        tokens[tokens[:, Token.TEXT] >= 0, Token.TEXT] = texts.number(strings)
    return tuple(texts.texts)
