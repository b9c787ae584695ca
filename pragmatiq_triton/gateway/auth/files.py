"""Files that are read anew when they change."""

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from pragmatiq_triton.errors import ConfigError

T = TypeVar("T")

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class Freshness:
    """How long ago what decides who may call was last as it should be; after ``lasts`` seconds it counts no more.

    ``lasts`` is None for what counts until it ends by itself, as a certificate does.
    """

    def __init__(self, lasts: float | None) -> None:
        self._lasts = lasts
        self._since: float | None = None
        self._problem = ""
        self._is_told = False

    @property
    def unreadable_seconds(self) -> float:
        """For how long it has not been readable; 0 where it is."""
        return 0.0 if self._since is None else monotonic() - self._since

    @property
    def is_stale(self) -> bool:
        """Whether what was read before counts no more."""
        return self._since is not None and self._lasts is not None and monotonic() - self._since >= self._lasts

    def look(self) -> None:
        """Say once that what was read before counts no more."""
        if self.is_stale and not self._is_told:
            self._is_told = True
            logger.error("%s, for %g s now; what was read before counts no more", self._problem, self._lasts)

    def failed(self, error: Exception) -> None:
        """Say once what is wrong, and how long the old counts."""
        if self._since is None:
            self._since = monotonic()
        if str(error) != self._problem:
            how_long = "" if self._lasts is None else f", for {self._lasts:g} s at most"
            logger.error("%s; what was read before stays%s", error, how_long)
        self._problem = str(error)

    def succeeded(self) -> None:
        """It was read."""
        self._since, self._problem, self._is_told = None, "", False

    @property
    def is_failing(self) -> bool:
        """Whether the last reading failed."""
        return self._since is not None


class Reread(Generic[T]):
    """What ``read`` makes of some files; made anew once one of them is another, looked at once a second.

    Where the new ones cannot be read or are gone, the old ones stay for ``lasts`` seconds (None: until there are
    others). The log says so once, and it is tried again until they can be. Whoever asks has to look at ``is_stale``.
    """

    def __init__(self, read: Callable[[], T], *files: Path, lasts: float | None = None) -> None:
        self._read = read
        self._files = files
        self._marks = self._look()
        self._value = read()
        self._freshness = Freshness(lasts)
        self._due = monotonic() + _LOOK_SECONDS

    def __call__(self) -> T:
        """The latest."""
        if monotonic() >= self._due:
            self._due = monotonic() + _LOOK_SECONDS
            marks = self._look()
            if marks != self._marks or self._freshness.is_failing:
                self._marks = marks
                try:
                    self._value = self._read()
                except (ConfigError, OSError) as error:
                    self._freshness.failed(error)
                else:
                    self._freshness.succeeded()
                    logger.warning("read anew: %s", ", ".join(map(str, self._files)))
        return self._value

    def look(self) -> None:
        """Take in new files, and say what is wrong with them."""
        self()
        self._freshness.look()

    @property
    def is_stale(self) -> bool:
        """Whether what was read before counts no more."""
        return self._freshness.is_stale

    @property
    def unreadable_seconds(self) -> float:
        """For how long the files have not been readable; 0 where they are."""
        return self._freshness.unreadable_seconds

    def _look(self) -> list[tuple[int, ...]]:
        marks: list[tuple[int, ...]] = []
        for file in self._files:
            try:
                found = file.stat()
                # The time of change tells of a mode that was taken away, and of contents put back with their old times.
                marks.append((found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino))
            except OSError:
                marks.append(())
        return marks
