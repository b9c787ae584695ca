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


class Reread(Generic[T]):
    """What ``read`` makes of some files; made anew once one of them is another, looked at once a second.

    Where the new ones cannot be read, the old ones stay, the log says so once, and it is tried again until they can be.
    """

    def __init__(self, read: Callable[[], T], *files: Path) -> None:
        self._read = read
        self._files = files
        self._marks = self._look()
        self._value = read()
        self._problem = ""
        self._due = monotonic() + _LOOK_SECONDS

    def __call__(self) -> T:
        """The latest."""
        if monotonic() >= self._due:
            self._due = monotonic() + _LOOK_SECONDS
            marks = self._look()
            if marks != self._marks or self._problem:
                self._marks = marks
                try:
                    self._value = self._read()
                except (ConfigError, OSError) as error:
                    if str(error) != self._problem:
                        logger.error("%s; what was read before stays", error)
                    self._problem = str(error)
                else:
                    self._problem = ""
                    logger.warning("read anew: %s", ", ".join(map(str, self._files)))
        return self._value

    def _look(self) -> list[tuple[int, int, int]]:
        marks = []
        for file in self._files:
            try:
                found = file.stat()
                marks.append((found.st_mtime_ns, found.st_size, found.st_ino))
            except OSError:
                marks.append((0, 0, 0))
        return marks
