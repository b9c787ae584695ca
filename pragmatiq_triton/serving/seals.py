"""What the tokenizer hands on is sealed, so that whoever reaches an inner model all the same can poison no cache.

Triton cannot keep callers from `scorer` and `text_embedder`, and what these keep goes by keys that come with the
tensors. So the tokenizer signs them with a key that the models' processes of one start share
(:data:`~pragmatiq_triton.boards.SEAL_KEY`, 64 hexadecimal digits), and the others refuse what is not signed:

    seal          uint8 [users, 32], tokenizer: over the users' tensors; over their texts together with the first
    vectors_seal  uint8 [users, 16], text_embedder: over its vectors together with the first of the two

Vectors of one request beside tokens of another are found by that "together". Each row holds the same, since a request
is sealed as a whole. A seal is HMAC-SHA-256, cut to 16 bytes: 40 µs for a history of 256 events (`make micro`).
"""

import hmac
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.boards import SEAL_KEY
from pragmatiq_triton.errors import ConfigError, UnsealedError
from pragmatiq_triton.tensors import (
    EVENT_KEYS,
    EVENTS,
    FEATURES,
    PROFILE,
    PROFILE_TIMES,
    TEXT_OFFSETS,
    TEXT_VECTORS,
    TEXTS,
    TOKENS,
    Arrays,
)

SEAL = "seal"
VECTORS_SEAL = "vectors_seal"
SIZE = 16

_USERS = (EVENT_KEYS, EVENTS, FEATURES, PROFILE, PROFILE_TIMES, TOKENS)
_TEXTS = (TEXT_OFFSETS, TEXTS)


class Seals:
    """Seals answers and opens requests; without a key answers are sealed with zeros and every request is taken."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    @classmethod
    def of_process(cls) -> "Seals":
        """With the key of the environment, if there is one; :class:`ConfigError` for what is no key."""
        word = os.environ.get(SEAL_KEY)
        if not word:
            return cls(None)
        try:
            key = bytes.fromhex(word)
        except ValueError:
            key = b""
        if len(key) != 2 * SIZE:
            raise ConfigError(f"{SEAL_KEY}: expected {4 * SIZE} hexadecimal digits")
        return cls(key)

    @property
    def has_key(self) -> bool:
        """Whether requests are held against their seals."""
        return self._key is not None

    def of_tokens(self, answer: Arrays) -> npt.NDArray[Any]:
        """``seal`` of what the tokenizer answers."""
        first = self._mac(b"users", answer, _USERS)
        return _rows(first + self._mac(b"texts", answer, _TEXTS, first), len(answer[TOKENS]))

    def of_vectors(self, answer: Arrays, seal: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        """``vectors_seal`` of what the text embedder answers to a request with ``seal``."""
        first = b"" if seal is None else seal[:1].tobytes()[:SIZE]
        return _rows(self._mac(b"vectors", answer, (TEXT_VECTORS,), first), len(answer[TEXT_VECTORS]))

    def check_texts(self, request: Arrays, seal: npt.NDArray[Any] | None) -> None:
        """:class:`UnsealedError` unless the tokenizer sealed these texts."""
        first, second = _parts(seal)
        self._check(self._mac(b"texts", request, _TEXTS, first), second)

    def check_users(self, request: Arrays, seal: npt.NDArray[Any] | None, vectors: npt.NDArray[Any] | None) -> None:
        """:class:`UnsealedError` unless the tokenizer sealed these users, and the embedder their texts' vectors."""
        first, _ = _parts(seal)
        self._check(self._mac(b"users", request, _USERS), first)
        if TEXT_VECTORS in request:
            given = b"" if vectors is None else vectors[:1].tobytes()
            self._check(self._mac(b"vectors", request, (TEXT_VECTORS,), first), given)

    def _mac(self, label: bytes, arrays: Arrays, names: Sequence[str], before: bytes = b"") -> bytes:
        if self._key is None:
            return bytes(SIZE)
        mac = hmac.new(self._key, label + before, "sha256")
        for name in names:
            array = arrays.get(name)
            if array is not None:
                mac.update(f"{name} {array.dtype.str} {array.shape}".encode())
                mac.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        return mac.digest()[:SIZE]

    def _check(self, wanted: bytes, given: bytes) -> None:
        if self._key is not None and not hmac.compare_digest(wanted, given):
            raise UnsealedError("these tensors are not what the tokenizer of this server handed on; ask the ensemble")


def _rows(seal: bytes, n_users: int) -> npt.NDArray[Any]:
    return np.frombuffer(seal, np.uint8)[np.newaxis].repeat(n_users, axis=0)


def _parts(seal: npt.NDArray[Any] | None) -> tuple[bytes, bytes]:
    whole = b"" if seal is None else seal[:1].tobytes()
    return whole[:SIZE], whole[SIZE:]
