"""One record in, the network's numbers out."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from pragmatiq_triton.batch import Token, UserFeatures
from pragmatiq_triton.records import Record, text_of
from pragmatiq_triton.tokenizer.assemble import NO_TIME, EncodedRecord, assemble, newest
from pragmatiq_triton.tokenizer.features import FeatureLevel, HistoryFeatures
from pragmatiq_triton.tokenizer.fields import TextNumbering, cut_tails, encode_fields, group_values
from pragmatiq_triton.tokenizer.moment import record_before
from pragmatiq_triton.tokenizer.vocabulary import Vocabulary

SOURCE_KEY = "source"


class Tokenizer:
    """Encodes records with a fitted vocabulary; stateless between records."""

    def __init__(self, vocabulary: Vocabulary, features: FeatureLevel = "none") -> None:
        self.vocabulary = vocabulary
        self.config = vocabulary.config
        self.features = HistoryFeatures.of(vocabulary, features)

    @classmethod
    def load(cls, folder: Path, features: FeatureLevel = "none") -> "Tokenizer":
        """Read a tokenizer folder, ours or the upstream toolkit's."""
        return cls(Vocabulary.load(folder), features)

    def __call__(self, record: Record) -> UserFeatures:
        """What the network and the task heads read of this record."""
        return self.user(self.encode(record))

    def user(self, encoded: EncodedRecord) -> UserFeatures:
        """What the network and the task heads read of an encoded record, of its newest events."""
        encoded = newest(encoded, self.config.max_events_per_user)
        return replace(assemble(encoded, self.config), features=self.features(encoded))

    def encode(self, record: Record) -> EncodedRecord:
        """Tokens of the newest events and of the whole profile, with absolute times.

        A record with an ``eval_ts`` is read as it was then.
        """
        if record.eval_ts > 0:
            record = record_before(record, record.eval_ts)
        events = sorted(record.events, key=lambda event: event.ts)[-self.config.max_events_per_user :]
        columns, n_fields = group_values(
            pair
            for event in events
            for pair in chain(((SOURCE_KEY, event.source),), ((k, text_of(v)) for k, v in event.fields.items()))
        )
        texts = TextNumbering() if self.config.embeds_text else None
        fields = encode_fields(columns, n_fields, self.vocabulary, texts)
        first_fields = np.cumsum([0, *(len(event.fields) + 1 for event in events)])[:-1]
        lengths = np.add.reduceat(fields.counts, first_fields) if events else np.zeros(0, np.int64)
        kept, lengths = cut_tails(lengths, self.config.max_event_tokens)

        attributes = sorted((key, text_of(value)) for key, value in record.attributes.items())
        milestones = [(item.key, item.key) for item in record.lifelong]
        columns, n_items = group_values([*attributes, *milestones])
        items = encode_fields(columns, n_items, self.vocabulary, None)
        return EncodedRecord(
            tokens=fields.tokens[kept],
            numbers=fields.numbers[kept],
            event_lengths=lengths,
            event_ts=np.asarray([event.ts for event in events], np.int64),
            profile=items.tokens[:, : Token.TEXT],
            item_lengths=items.counts,
            item_ts=np.asarray([NO_TIME] * len(attributes) + [item.ts for item in record.lifelong], np.int64),
            as_of=record.as_of,
            texts=tuple(texts.texts) if texts else (),
        )
