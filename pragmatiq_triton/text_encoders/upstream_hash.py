"""The vectors that the upstream toolkit calls ``hash``, for runs that it trained: other numbers than our ``hash``."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.text_encoders.protocol import TextEncoderSpec, utf8
from pragmatiq_triton.text_encoders.registry import register_text_encoder

NAME = "upstream-hash"
# torch's generator turns uniform numbers into normal ones in blocks: eight radii, then eight angles.
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class UpstreamHashEncoder:
    """Standard normal numbers, ``torch.randn`` seeded with the first 15 hex digits of a string's SHA-1.

    Computed here without torch: the Mersenne Twister's words as 24-bit fractions, then Box and Muller's transform.
    Equal to torch's to about 1e-6, which is how far torch's own vector units differ.
    """

    dim: int
    name: str = NAME
    revision: str = "sha1-mt19937-1"

    def encode(self, texts: Sequence[str]) -> Float32:
        """Vectors of ``texts``: float32 [n, dim]."""
        words = np.array([self._words(text) for text in texts], np.uint32).reshape(len(texts), self.dim)
        fractions = (words & 0xFFFFFF).astype(np.float32) / np.float32(1 << 24)
        blocks = fractions.reshape(len(texts), self.dim // _BLOCK, 2, _BLOCK // 2)
        radius = np.sqrt(-2 * np.log(1 - blocks[:, :, 0]))
        angle = np.float32(2 * np.pi) * blocks[:, :, 1]
        normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
        vectors: Float32 = normal.reshape(len(texts), self.dim).astype(np.float32)
        return vectors

    def _words(self, text: str) -> "np.typing.NDArray[np.uint64]":
        seed = int(hashlib.sha1(utf8(text), usedforsecurity=False).hexdigest()[:15], 16)
        # RandomState seeds the twister as torch does, with the seed's low 32 bits.
        twister = np.random.RandomState(seed & 0xFFFFFFFF)
        return twister.randint(0, 1 << 32, self.dim, dtype=np.uint64)


@register_text_encoder(NAME)
def _create(spec: TextEncoderSpec, *, device: str, threads: int | None) -> UpstreamHashEncoder:
    dim = spec.dim or 64
    if dim % _BLOCK:
        raise ConfigError(f"text encoder {NAME!r}: expected text_encoder_dim to be a multiple of {_BLOCK}, got {dim}")
    return UpstreamHashEncoder(dim)
