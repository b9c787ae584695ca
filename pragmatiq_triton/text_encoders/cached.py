"""Frozen vectors of the strings that came lately, in front of the encoder that computes or looks them up."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from pragmatiq_triton.batch import Float32, Int64, UInt64
from pragmatiq_triton.cache.fingerprints import FINGERPRINT_BYTES, secret
from pragmatiq_triton.cache.vectors import VectorCache, as_numbers
from pragmatiq_triton.finite import require_finite
from pragmatiq_triton.text_encoders.protocol import TextEncoder, strings_cut

_REMEDY = "the text model or the table of text vectors is damaged; tokenize and export again"


class CachedTextEncoder:
    """``encoder`` behind ``cache``. Keys are 128-bit digests under a secret of the process: nobody can aim at one."""

    def __init__(self, encoder: TextEncoder, cache: VectorCache) -> None:
        self.cache = cache
        self.dim = encoder.dim
        self._encoder = encoder
        self._secret = secret(None)

    @property
    def n_cut(self) -> int:
        """Strings so far that the encoder did not read to their end."""
        return strings_cut(self._encoder)

    def known(self, texts: Sequence[bytes], out: Float32) -> Int64:
        """Write the vectors of ``texts``, UTF-8, that are known into ``out`` [n, dim]; returns the other rows."""
        return self.cache.take(self._keys(texts), out)

    def encode(self, texts: Sequence[bytes]) -> Float32:
        """Vectors float32 [n, dim] of ``texts``, UTF-8 and all different, to be known from now on.

        ``UnicodeDecodeError`` for what is no UTF-8, :class:`~pragmatiq_triton.errors.DataError` for strings that the
        encoder refuses, :class:`~pragmatiq_triton.errors.NotFiniteError` for vectors that are not finite.
        """
        vectors = self._encoder.encode([text.decode("utf-8") for text in texts])
        require_finite("text_vectors", vectors, _REMEDY)
        self.cache.put(self._keys(texts), vectors)
        return vectors

    def _keys(self, texts: Sequence[bytes]) -> UInt64:
        key = self._secret
        digests = [blake2b(text, digest_size=FINGERPRINT_BYTES, key=key).digest() for text in texts]
        return as_numbers(b"".join(digests)) if digests else np.zeros((0, 2), np.uint64)
