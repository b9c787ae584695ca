"""The sizes of a network, and the four that have a name."""

from dataclasses import dataclass
from typing import NamedTuple

from pragmatiq_triton.errors import ConfigError


class Size(NamedTuple):
    """A named size (PRAGMA, arXiv 2604.08649): widths and depths without vocabulary or text."""

    dim: int
    n_heads: int
    depth_profile: int
    depth_event: int
    depth_history: int


SIZES = {
    "nano": Size(64, 2, 1, 2, 1),
    "small": Size(192, 3, 1, 5, 2),
    "medium": Size(512, 8, 3, 16, 6),
    "large": Size(1024, 16, 9, 45, 18),
}


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Everything that fixes a network's parameters; ``text_dim`` 0 means that it has no text branch."""

    vocab_size: int
    dim: int
    n_heads: int
    depth_profile: int
    depth_event: int
    depth_history: int
    dropout: float = 0.1
    rope_base: float = 10_000.0
    max_position: int = 64
    text_dim: int = 0

    def __post_init__(self) -> None:
        if self.dim % (2 * self.n_heads):
            raise ConfigError(
                f"dim {self.dim} does not split into {self.n_heads} heads of an even width (rotary needs pairs); "
                f"use a multiple of {2 * self.n_heads}"
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @classmethod
    def of_size(cls, name: str, vocab_size: int, text_dim: int = 0, dropout: float = 0.1) -> "NetworkConfig":
        """The network called ``name`` in :data:`SIZES`, for a vocabulary and, where ``text_dim`` > 0, text vectors."""
        if name not in SIZES:
            raise ConfigError(f"model_size: there is no size {name!r}; choose one of {', '.join(SIZES)}")
        return cls(vocab_size, *SIZES[name], dropout=dropout, text_dim=text_dim)
