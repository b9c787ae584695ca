"""Vectors from a hash: the same on every machine and in every language, with no model and no meaning."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.text_encoders.protocol import TextEncoderSpec, utf8
from pragmatiq_triton.text_encoders.registry import register_text_encoder

DEFAULT_DIM = 64


@dataclass(frozen=True, slots=True)
class HashEncoder:
    """SHAKE-256 of a string's UTF-8 bytes as ``dim`` numbers, uniform on (-sqrt 3, sqrt 3): mean 0, variance 1.

    4 * dim bytes of the hash, read as little-endian uint32 u, give sqrt(3) * (2 * (u + 0.5) / 2**32 - 1), computed in
    float64 and rounded to float32. A lone surrogate is hashed in its three-byte form, as a CESU-8 encoder writes it.
    """

    dim: int = DEFAULT_DIM
    name: ClassVar[str] = "hash"
    revision: ClassVar[str] = "shake256-1"

    def encode(self, texts: Sequence[str]) -> Float32:
        """Vectors of ``texts``: float32 [n, dim]."""
        digests = b"".join(hashlib.shake_256(utf8(text)).digest(4 * self.dim) for text in texts)
        uniform = (np.frombuffer(digests, "<u4") + 0.5) / 2**32
        vectors: Float32 = (np.sqrt(3.0) * (2 * uniform - 1)).astype(np.float32)
        return vectors.reshape(len(texts), self.dim)


@register_text_encoder("hash")
def _create(spec: TextEncoderSpec, **_place: object) -> HashEncoder:
    if spec.text_model is not None:
        raise ConfigError(f"text encoder 'hash' reads no model: drop text_model ({spec.text_model})")
    return HashEncoder(spec.dim or DEFAULT_DIM)
