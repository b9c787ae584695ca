"""What a text encoder is, and the settings that choose one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ConfigError

MAX_LENGTH = 512
"""Tokens of a string that a model reads where nothing else is said."""


class TextEncoder(Protocol):
    """A frozen, deterministic map from strings to vectors.

    A string gets the same vector whatever else is in the batch, so that vectors computed once per data set are the
    vectors that a server computes for one request.
    """

    @property
    def name(self) -> str:
        """The name that it is registered under."""
        ...

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        ...

    @property
    def revision(self) -> str:
        """What exactly computes the vectors: a version, a commit hash, or ``sha256:`` and a hash of the contents."""
        ...

    def encode(self, texts: Sequence[str]) -> Float32:
        """Vectors of ``texts``: float32 [n, dim]; [0, dim] for no texts."""
        ...


def strings_cut(encoder: TextEncoder) -> int:
    """Strings so far that ``encoder`` did not read to their end, its ``n_cut``; 0 for one that does not count them."""
    return int(getattr(encoder, "n_cut", 0))


class TextEncoderSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which encoder, and everything that its vectors depend on; the ``text_encoder`` part of the tokenizer's YAML."""

    encoder: str = "hash"
    """``hash``, ``nemotron``, ``table``, ``upstream-hash``, a name that you registered, or the import path
    ``package.module:Encoder``. ``hash`` knows no meaning but needs no model (``upstream-hash`` gives runs of the
    upstream toolkit theirs); ``nemotron`` knows meaning and costs a model call per new string;
    ``table`` costs a lookup but knows only the strings that were put in."""

    dim: int | None = None
    """Numbers per vector. Chosen only for ``hash`` (64 if left out): more keeps strings further apart and makes the
    network's text projection wider. The other encoders fix it themselves; a value here is checked against theirs."""

    text_model: str | None = None
    """``nemotron``: a Hugging Face hub id or a local folder (an existing folder wins); ``table``: its .npz file or
    folder. A folder needs no network at all, a hub id needs it once."""

    revision: str | None = None
    """Pins what computes the vectors. A hub id needs a full 40-digit commit hash, since branches move under you;
    a local folder or table may carry ``sha256:<hex>``, which costs one read of its files and refuses changed ones."""

    trust_remote_code: bool = False
    """Run the Python code that lies beside the weights. Opens more architectures, at the price of running a
    stranger's code in the training job and in the server; allowed only with a pinned ``revision``."""

    prefix: str = ""
    """Put in front of every string, as retrieval models expect it (``"passage: "``). It costs its tokens per call."""

    max_length: int = MAX_LENGTH
    """Tokens that ``nemotron`` reads of a string; the rest is cut off. Bank text is far shorter than the default;
    attention costs the square of it, so it also bounds what one hostile string can cost. A model with fewer positions
    cuts at its own limit."""

    pooling: str | None = None
    """``nemotron``: how a string's tokens become one vector, as ``mean`` or ``cls,normalize``. Not chosen: None follows
    the model's folder, and a fitted tokenizer's encoder keeps what it was fitted with."""

    fallback: TextEncoderSpec | None = None
    """``table``: the encoder for strings that the table lacks. Without one such a string is an error, which keeps
    a model out of the server; with one it is answered, which keeps new strings from failing a request."""

    def __post_init__(self) -> None:
        for field in ("dim", "max_length"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ConfigError(f"text_encoder.{field}: expected at least 1, got {value}")
        if self.fallback is not None and self.encoder != "table":
            raise ConfigError(f"text_encoder.fallback: only the encoder 'table' takes one, got {self.encoder!r}")


def utf8(text: str) -> bytes:
    """The bytes that stand for ``text``.

    A lone surrogate, which JSON's escapes can spell and UTF-8 cannot, keeps its three-byte form, so that every str
    has bytes, distinct strs have distinct bytes, and valid text has its plain UTF-8.
    """
    return text.encode("utf-8", "surrogatepass")


def shortened(text: str, limit: int = 60) -> str:
    """``text`` as an error message shows it: quoted, printable and short."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")
