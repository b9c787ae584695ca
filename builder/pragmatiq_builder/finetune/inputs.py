"""What heads read of labelled rows, made by the exported network as a server makes it of the same history."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import msgspec
import numpy as np

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.classifiers import Array
from pragmatiq_builder.finetune.labels import LabelledRows
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw.event_labels import rows_by_user
from pragmatiq_triton.batch import Float32, Int64, Token, UserFeatures, collate, newest_events
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.tokenizer import EncodedRecord, Tokenizer, assemble
from pragmatiq_triton.tokenizer.assemble import newest
from pragmatiq_triton.tokenizer.features import FeatureLevel
from pragmatiq_triton.tokenizer.moment import encoded_before, encoded_until, first_events
from pragmatiq_triton.tokenizer.own_features import OwnFeatures

ROWS_PER_CALL = 16
"""Histories of one call: enough for every core, few enough to stay small."""


@dataclass(frozen=True, slots=True, eq=False)
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
        """The inputs kept at ``path``; None where none can be read or they were made of something else."""
        try:
            with np.load(path) as kept:
                return cls(*(kept[field.name] for field in fields(cls))) if str(kept["key"]) == key else None
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None


@dataclass(frozen=True, slots=True, eq=False)
class LabelledInputs:
    """n rows to fit, calibrate or score: ``inputs`` with the names of their features' columns, ``labels`` 0 or 1 [n],
    and ``users`` [n], whose rows they are.
    """

    inputs: HeadInputs
    feature_names: Sequence[str]
    labels: Array
    users: Array

    def rows(self, rows: Int64) -> "LabelledInputs":
        """Some of the rows."""
        return LabelledInputs(self.inputs.rows(rows), self.feature_names, self.labels[rows], self.users[rows])


def history_of(record: EncodedRecord, rows: LabelledRows, row: int) -> EncodedRecord:
    """What a row may see of its user's ``record``: what lies strictly before its moment, and of an event itself."""
    event = rows.event(row, record.event_ts)
    return encoded_before(record, int(rows.at[row])) if event is None else encoded_until(record, event)


@dataclass(frozen=True, slots=True)
class Reach:
    """Which of a user's events a history holds: numbers ``first:stop``, and ``own`` if one of them is judged."""

    first: int
    stop: int
    own: int | None

    @classmethod
    def of(cls, rows: LabelledRows, row: int, event_ts: Int64, most: int) -> "Reach":
        """The newest ``most`` events that a row may see of those at ``event_ts``, ascending."""
        stop, own = int(np.searchsorted(event_ts, rows.at[row])), rows.event(row, event_ts)
        return cls(max(stop + (own is not None) - most, 0), stop, own)

    @property
    def end(self) -> int:
        """The number behind the last event."""
        return self.stop if self.own is None else self.own + 1

    def events(self) -> Int64:
        """The numbers, int64 [n], ascending."""
        before = np.arange(self.first, self.stop)
        return before if self.own is None else np.append(before, self.own)


def feature_names_of_rows(data: TokenizedDataset, rows: LabelledRows) -> list[str]:
    """The columns of :attr:`HeadInputs.features`: those of the history, and the bank's own that ``rows`` have."""
    return Tokenizer(data.vocabulary, "wide", OwnFeatures(rows.own_names)).feature_names


def row_features(data: TokenizedDataset, rows: LabelledRows, level: FeatureLevel) -> Float32:
    """The features alone of every row, float32 [n, n_features]."""
    tokenizer = Tokenizer(data.vocabulary, level)
    features = np.zeros((len(rows.users), len(tokenizer.features.names)), np.float32)
    for user, numbers in rows_by_user(rows.users):
        record = data.encoded(user)
        for row in numbers.tolist():
            history = history_of(record, rows, row)
            features[row] = tokenizer.features(newest(history, data.config.max_events_per_user))
    return features


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
    tokenizer = Tokenizer(data.vocabulary, "wide")
    n_own = len(rows.own_names)
    counted = CountedKeys(data)
    n, dim = len(rows.users), scorer.dim
    inputs = HeadInputs(
        user_embedding=np.zeros((n, dim), np.float32),
        event_state=np.zeros((n, dim), np.float32),
        features=np.zeros((n, len(tokenizer.features.names) + n_own), np.float32),
        counts=np.zeros((n, counted.width), np.float32),
    )
    if rows.own is not None:
        inputs.features[:, -n_own:] = rows.own
    most = min(max_events or data.config.max_events_per_user, data.config.max_events_per_user)
    progress.stage("Reading histories at their moments", n)
    for user, numbers in rows_by_user(rows.users):
        record = data.encoded(user)
        reaches = [Reach.of(rows, row, record.event_ts, most) for row in numbers.tolist()]
        first, end = min(reach.first for reach in reaches), max(reach.end for reach in reaches)
        vectors = _event_vectors(data, newest(first_events(record, end), end - first), scorer)
        for start in range(0, len(numbers), ROWS_PER_CALL):
            call = slice(start, start + ROWS_PER_CALL)
            users: list[UserFeatures] = []
            event_vectors: list[Float32] = []
            for row, reach in zip(numbers[call].tolist(), reaches[call], strict=True):
                history = history_of(record, rows, row)
                whole = tokenizer.user(history)
                inputs.features[row, : len(whole.features)] = whole.features
                inputs.counts[row] = counted(history)
                read = newest_events(whole, most)
                event_vectors.append(vectors[reach.events() - first])
                # The tokens are in the event vectors already.
                users.append(replace(read, tokens=read.tokens[:0]))
            embeddings = scorer.histories(collate(users, []), np.concatenate(event_vectors))
            inputs.user_embedding[numbers[call]] = embeddings.user_embedding
            inputs.event_state[numbers[call]] = embeddings.event_state
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


def _event_vectors(data: TokenizedDataset, record: EncodedRecord, scorer: Scorer) -> Float32:
    """Of all events of ``record``, also those beyond ``max_events_per_user``, float32 [n_events, dim]."""
    config = msgspec.structs.replace(data.config, max_events_per_user=max(len(record.event_ts), 1))
    return scorer.event_vectors(data.collate([assemble(record, config)]))
