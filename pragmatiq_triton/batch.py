"""The packed batch: what the tokenizer hands over and what both the torch network and the ONNX scorer read.

Nothing is padded. The columns are the wire's (see :mod:`pragmatiq_triton.tensors`), so a request, a training batch
and an evaluation batch hold the same numbers in the same places.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Float32 = npt.NDArray[np.float32]
Number = TypeVar("Number", bound=np.generic)


class Token(IntEnum):
    """Columns of ``tokens`` and, but for ``TEXT``, of ``profile``."""

    KEY = 0
    VALUE = 1
    POSITION = 2
    TEXT = 3


class Event(IntEnum):
    """Columns of ``events``."""

    TOKENS = 0
    LOG_SECONDS = 1
    HOUR = 2
    DAY_OF_WEEK = 3
    DAY_OF_MONTH = 4


@dataclass(frozen=True, slots=True)
class UserFeatures:
    """One user's record as numbers.

    ``tokens`` int32 [n_tokens, 4], ``events`` float32 [n_events, 5] oldest first, ``profile`` int32 [n_profile, 3],
    ``profile_times`` float32 [n_profile] in log-seconds, ``texts``: the distinct strings that ``tokens``' last
    column points into (-1: not a text token); ``features`` float32 [n_features], what the task heads read beside the
    network (:class:`~pragmatiq_triton.tokenizer.features.HistoryFeatures`); ``event_keys`` uint64 [n_events, 2], the
    fingerprints of the events' contents (:mod:`pragmatiq_triton.cache.fingerprints`), or none of them.
    """

    tokens: Int32
    events: Float32
    profile: Int32
    profile_times: Float32
    texts: tuple[str, ...] = ()
    features: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    event_keys: UInt64 = field(default_factory=lambda: np.zeros((0, 2), np.uint64))


@dataclass(frozen=True, slots=True)
class Batch:
    """Several users end to end.

    ``tokens`` int32 [T, 4], ``events`` float32 [E, 5], ``profile`` int32 [P, 3], ``profile_times`` float32 [P];
    user ``u`` owns events ``event_cu_seqlens[u]:event_cu_seqlens[u + 1]`` and profile tokens likewise;
    ``text_vectors`` float32 [n_texts, text_dim] are the frozen vectors that ``tokens``' last column points into;
    ``features`` float32 [n_users, n_features] go to the task heads; ``event_keys`` uint64 [E, 2] are the events'
    fingerprints, [0, 2] where the users have none.
    """

    tokens: Int32
    events: Float32
    profile: Int32
    profile_times: Float32
    event_cu_seqlens: Int64
    profile_cu_seqlens: Int64
    text_vectors: Float32
    features: Float32
    event_keys: UInt64 = field(default_factory=lambda: np.zeros((0, 2), np.uint64))

    @property
    def n_users(self) -> int:
        return len(self.event_cu_seqlens) - 1

    @property
    def token_counts(self) -> Int64:
        """Tokens of each event, int64 [E]."""
        return self.events[:, Event.TOKENS].astype(np.int64)

    def tokens_of(self, rows: Int64) -> Int32:
        """Tokens of the events ``rows`` int64 [n], end to end in that order: a copy, int32 [sum of their counts, 4]."""
        lengths = self.token_counts
        return self.tokens[ranges(cu_seqlens(lengths)[rows], lengths[rows])]


def cu_seqlens(lengths: Sequence[int] | npt.NDArray[np.integer]) -> Int64:
    """Running offsets of sequences that lie end to end: int64 [n + 1], starting at 0."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ranges(starts: Int64, lengths: Int64) -> Int64:
    """``arange(start, start + length)`` of each pair, end to end: int64 [sum of lengths]."""
    offsets = cu_seqlens(lengths)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])


def collate(users: Sequence[UserFeatures], text_vectors: Sequence[Float32], text_dim: int = 0) -> Batch:
    """Lay users end to end; ``text_vectors[u]`` float32 [n_texts_u, text_dim] belongs to ``users[u].texts``."""
    tokens = [user.tokens for user in users]
    shift = 0
    for i, vectors in enumerate(text_vectors):
        if shift and len(vectors):
            moved = tokens[i].copy()
            moved[moved[:, Token.TEXT] >= 0, Token.TEXT] += shift
            tokens[i] = moved
        shift += len(vectors)
    return Batch(
        tokens=_stack(tokens, np.zeros((0, 4), np.int32)),
        events=_stack([user.events for user in users], np.zeros((0, 5), np.float32)),
        profile=_stack([user.profile for user in users], np.zeros((0, 3), np.int32)),
        profile_times=_stack([user.profile_times for user in users], np.zeros(0, np.float32)),
        event_cu_seqlens=cu_seqlens([len(user.events) for user in users]),
        profile_cu_seqlens=cu_seqlens([len(user.profile) for user in users]),
        text_vectors=_stack(list(text_vectors), np.zeros((0, text_dim), np.float32)),
        features=np.stack([user.features for user in users]) if users else np.zeros((0, 0), np.float32),
        event_keys=_stack([user.event_keys for user in users], np.zeros((0, 2), np.uint64)),
    )


def newest_events(user: UserFeatures, most: int) -> UserFeatures:
    """The user with the newest ``most`` events and their tokens; text numbers and times mean what they did."""
    first = len(user.events) - most
    if first <= 0:
        return user
    first_token = int(user.events[:first, Event.TOKENS].astype(np.int64).sum())
    return replace(
        user, tokens=user.tokens[first_token:], events=user.events[first:], event_keys=user.event_keys[first:]
    )


def _stack(arrays: list[npt.NDArray[Number]], empty: npt.NDArray[Number]) -> npt.NDArray[Number]:
    return np.concatenate(arrays) if arrays else empty
