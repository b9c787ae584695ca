"""What heads read of labelled rows, made by the exported network as a server makes it of the same history."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import msgspec
import numpy as np

from builder.dataset.store import TokenizedDataset
from builder.finetune.labels import LabelledRows
from builder.progress import Progress, Silent
from pragmatiq_triton.batch import Float32, Int64, Token, UserFeatures, collate
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.tokenizer import EncodedRecord, Tokenizer, assemble
from pragmatiq_triton.tokenizer.moment import encoded_before, encoded_until

ROWS_PER_CALL = 16
"""Histories of one call: enough for every core, few enough to stay small."""


@dataclass(frozen=True, slots=True)
class HeadInputs:
    """Float32, a row per label: ``user_embedding`` and ``event_state`` [n, dim]; ``features`` and ``counts`` [n, ...],
    what the tokenizer and the raw-count baseline say of the same history.
    """

    user_embedding: Float32
    event_state: Float32
    features: Float32
    counts: Float32

    def rows(self, rows: Int64) -> "HeadInputs":
        """The inputs of some rows."""
        return HeadInputs(*(getattr(self, field.name)[rows] for field in fields(self)))

    def save(self, path: Path, key: str) -> None:
        """Keep the inputs for later; ``key`` says what they were made of."""
        np.savez(path, key=np.asarray(key), **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path, key: str) -> "HeadInputs | None":
        """The inputs kept at ``path``, None where there are none or they were made of something else."""
        if not path.is_file():
            return None
        with np.load(path) as kept:
            if str(kept["key"]) != key:
                return None
            return cls(*(kept[field.name] for field in fields(cls)))


def history_at(record: EncodedRecord, at: int, kind: str) -> EncodedRecord:
    """What a label of ``kind`` may see: strictly before ``at``, or up to and including the event at ``at``."""
    return encoded_before(record, at) if kind == "user" else encoded_until(record, at)


def head_inputs(
    data: TokenizedDataset,
    rows: LabelledRows,
    scorer: Scorer,
    *,
    max_events: int | None = None,
    progress: Progress = Silent(),
) -> HeadInputs:
    """The inputs of every row; each user's events are encoded once, however many rows ask about them.

    ``max_events``: newest events of each history that the network reads, all that the tokenizer keeps by default.
    """
    config = data.config
    if max_events is not None:
        config = msgspec.structs.replace(config, max_events_per_user=min(max_events, config.max_events_per_user))
    tokenizer = Tokenizer(data.vocabulary, "all")
    counted = CountedKeys(data)
    n, dim = len(rows.users), scorer.dim
    inputs = HeadInputs(
        user_embedding=np.zeros((n, dim), np.float32),
        event_state=np.zeros((n, dim), np.float32),
        features=np.zeros((n, len(tokenizer.features.names)), np.float32),
        counts=np.zeros((n, counted.width), np.float32),
    )
    progress.stage("Reading histories at their moments", n)
    for user, numbers in _rows_by_user(rows.users):
        record = data.encoded(user)
        last = history_at(record, int(rows.at[numbers].max()), rows.kind)
        vectors = _event_vectors(data, last, scorer)
        for start in range(0, len(numbers), ROWS_PER_CALL):
            chosen = numbers[start : start + ROWS_PER_CALL]
            users: list[UserFeatures] = []
            event_vectors: list[Float32] = []
            for row in chosen.tolist():
                history = history_at(record, int(rows.at[row]), rows.kind)
                whole = tokenizer.user(history)
                inputs.features[row] = whole.features
                inputs.counts[row] = counted(history)
                read = assemble(history, config)
                n_events = len(history.event_ts)
                event_vectors.append(vectors[n_events - len(read.events) : n_events])
                # The tokens are in the event vectors already.
                users.append(replace(read, tokens=np.zeros((0, 4), np.int32), texts=()))
            embeddings = scorer.histories(collate(users, []), np.concatenate(event_vectors))
            inputs.user_embedding[chosen] = embeddings.user_embedding
            inputs.event_state[chosen] = embeddings.event_state
        progress.advance(len(numbers))
    return inputs


class CountedKeys:
    """The raw-count baseline: how many events, how many of each source, and how often each field was there."""

    def __init__(self, data: TokenizedDataset) -> None:
        vocabulary = data.vocabulary
        self._keys = np.asarray(sorted(vocabulary.state["key_vocab"].values()), np.int64)
        self._values = np.asarray(sorted(vocabulary.state["cat_vocab"].get("source", {}).values()), np.int64)
        self._vocab_size = vocabulary.size
        self.width = 1 + len(self._keys) + len(self._values)

    def __call__(self, record: EncodedRecord) -> Float32:
        """float32 [width]."""
        first_pieces = record.tokens[record.tokens[:, Token.POSITION] == 0]
        keys = np.bincount(first_pieces[:, Token.KEY], minlength=self._vocab_size)[self._keys]
        values = np.bincount(first_pieces[:, Token.VALUE], minlength=self._vocab_size)[self._values]
        return np.concatenate([[len(record.event_ts)], keys, values]).astype(np.float32)


def _rows_by_user(users: Int64) -> Iterator[tuple[int, Int64]]:
    order = np.argsort(users, kind="stable")
    distinct, first = np.unique(users[order], return_index=True)
    yield from zip(distinct.tolist(), np.split(order, first[1:]), strict=True)


def _event_vectors(data: TokenizedDataset, record: EncodedRecord, scorer: Scorer) -> Float32:
    config = msgspec.structs.replace(data.config, max_events_per_user=max(len(record.event_ts), 1))
    return scorer.event_vectors(data.collate([assemble(record, config)]))
