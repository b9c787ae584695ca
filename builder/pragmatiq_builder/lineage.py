"""Which run's weights a run began with, and which run's weights that one began with, and so on."""

import json
from pathlib import Path
from typing import Literal

import msgspec

from pragmatiq_triton.errors import ArtifactError

FILE = "meta.json"
SHORT = 12
"""Characters of a hash in a sentence."""


class InitFrom(msgspec.Struct, frozen=True, kw_only=True):
    """The run whose weights another began with; ``init_from``: the one that it began with itself, if there was one."""

    run: str
    origin: Literal["pragmatiq-triton", "upstream"]
    weights_hash: str
    init_from: "InitFrom | None" = None


def init_from(run: Path) -> InitFrom | None:
    """What the run at ``run`` began with; None if its weights were drawn, and for upstream's.

    Raises :class:`ArtifactError` where ``meta.json`` cannot be read.
    """
    path = run / FILE
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        found = meta.get("init_from")
        return None if found is None else msgspec.convert(found, InitFrom)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, msgspec.ValidationError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}; restore the run from a backup") from None


def in_words(found: InitFrom) -> str:
    """Each run with the beginning of its weights' hash, the nearest first.

    Example:
        >>> in_words(InitFrom(run="may", origin="pragmatiq-triton", weights_hash="ab" * 32))
        'may (abababababab)'
    """
    words, earlier = [], found
    while True:
        words.append(f"{earlier.run} ({earlier.weights_hash[:SHORT]})")
        if earlier.init_from is None:
            return ", which began with ".join(words)
        earlier = earlier.init_from
