"""Features of the caller's own: numbers that come beside a history, and that heads read like those made of it.

A record brings them by name in its member ``features``. What is not there is unknown, NaN, as it is for the features
of a history; what no head was fitted with is counted and not read.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ConfigError, printable
from pragmatiq_triton.tokenizer.fields import LARGEST

logger = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""A feature's name: it stands in a config and in the label of a metric."""
EXPECTED_NAME = "1 to 64 letters (A-Z, a-z), digits, '_', '.' or '-'"
PREFIX = "own:"
"""Before the names of a head's columns, so that none is taken for a feature of the history."""
_NAMED_UNKNOWN = 20


def column_names(names: Iterable[str]) -> list[str]:
    """Under which names heads know the features ``names``."""
    return [PREFIX + name for name in names]


def as_floats(values: npt.ArrayLike) -> Float32:
    """Numbers as heads read them: float32, within its range."""
    return np.asarray(values, np.float64).clip(-LARGEST, LARGEST).astype(np.float32)


class OwnFeatures:
    """Reads the features ``names`` of records, in that order, and counts what was missing and what is unknown."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self.missing = dict.fromkeys(self.names, 0)
        self.unknown = 0
        self._told: set[str] = set()

    @classmethod
    def of_parameter(cls, value: str) -> "OwnFeatures":
        """Of a config's parameter, names with commas between them; :class:`ConfigError` for what is no list of names.

        Example:
            >>> OwnFeatures.of_parameter("bureau_score,utilisation").names
            ('bureau_score', 'utilisation')
        """
        names = value.split(",") if value else []
        if wrong := [name for name in names if not NAME.fullmatch(name)]:
            raise ConfigError(f"own_features in config.pbtxt: {wrong[0]!r}: expected {EXPECTED_NAME}; export again")
        return cls(names)

    def __call__(self, given: Mapping[str, float | None]) -> Float32:
        """float32 [len(names)] of a record's ``features``."""
        values = [given.get(name) for name in self.names]
        return as_floats([np.nan if value is None else value for value in values])

    def count(self, given: Mapping[str, float | None]) -> None:
        """Take a record that is answered into the account."""
        for name in self.names:
            if given.get(name) is None:
                self.missing[name] += 1
        unknown = [name for name in given if name not in self.missing]
        self.unknown += len(unknown)
        for name in unknown:
            if name not in self._told and len(self._told) < _NAMED_UNKNOWN:
                self._told.add(name)
                known = ", ".join(self.names) or "none at all"
                logger.warning("records bring the feature %s, read by no task; tasks read %s", printable(name), known)
