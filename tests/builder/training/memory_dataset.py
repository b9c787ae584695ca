"""A small data set in memory: events whose fields depend on one another, with or without text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from pragmatiq_triton.batch import Batch, Int64, Token, UserFeatures, collate

N_KINDS, N_VALUES = 6, 20


@dataclass
class MemoryDataset:
    """Events of three fields: a kind, a value that follows from it, and, with ``text_dim``, a text that does too."""

    tokenizer_dir: Path
    tokenizer_hash: str
    n_users: int = 40
    text_dim: int = 0
    vocab_size: int = 8 + N_KINDS + N_VALUES
    seed: int = 0
    vectors: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.vectors = rng.uniform(-np.sqrt(3), np.sqrt(3), (N_KINDS, self.text_dim)).astype(np.float32)
        self._users = [self._user(rng, n_events) for n_events in rng.integers(0, 12, self.n_users)]

    @property
    def text_encoder(self) -> str | None:
        return "hash" if self.text_dim else None

    @cached_property
    def token_counts(self) -> Int64:
        return np.array([len(user.tokens) for user in self._users])

    def link_texts(self, folder: Path) -> None:
        """Its texts have no strings."""

    def copy_fields(self, folder: Path) -> None:
        """It has no table of fields."""

    def batch(self, users: Sequence[int]) -> Batch:
        vectors = self.vectors if self.text_dim else self.vectors[:0]
        return collate([self._users[user] for user in users], [vectors] * len(users), self.text_dim)

    def _user(self, rng: np.random.Generator, n_events: int) -> UserFeatures:
        kinds = rng.integers(0, N_KINDS, n_events)
        n_fields = 3 if self.text_dim else 2
        tokens = np.full((n_events, n_fields, 4), -1)
        tokens[..., Token.KEY] = np.arange(5, 5 + n_fields)
        tokens[:, 0, Token.VALUE] = 8 + kinds
        tokens[:, 1, Token.VALUE] = 8 + N_KINDS + 3 * kinds % N_VALUES
        tokens[..., Token.POSITION] = 0
        if self.text_dim:
            tokens[:, 2, Token.VALUE] = 2
            tokens[:, 2, Token.TEXT] = kinds
        events = np.zeros((n_events, 5))
        events[:, 0] = n_fields
        events[:, 1] = np.sort(rng.uniform(0, 90, n_events))[::-1]
        return UserFeatures(
            tokens.reshape(-1, 4).astype(np.int32),
            events.astype(np.float32),
            np.array([[5, 9, 0]], np.int32),
            np.zeros(1, np.float32),
            tuple(f"kind {kind}" for kind in range(N_KINDS)) if self.text_dim else (),
        )
