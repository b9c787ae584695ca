"""A log file that does not outgrow its disk, and that a full disk does not stop."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from pragmatiq_triton.keeper.line_limit import note_of

HALF_BYTES = 8 * 1024 * 1024
"""The file is set aside as ``NAME.1`` once it is that large; the one before that is gone."""


class LogFile:
    """Appends lines to ``path``, which it makes for this account alone (0600).

    Raises :class:`OSError` where it cannot be opened. What cannot be written later is counted, and said when there is
    room again.
    """

    def __init__(self, path: Path, half_bytes: int = HALF_BYTES) -> None:
        self._path = path
        self._half_bytes = half_bytes
        self._file = open_log(path)
        self._lost = 0
        self._why = ""

    def write(self, line: bytes) -> None:
        """Append one line, its line break included."""
        try:
            if self._lost:
                self._append(note_of(self._lost, self._why))
                self._lost = 0
            self._append(line)
        except OSError as error:
            self._lost += 1
            self._why = error.strerror or str(error)

    def close(self) -> None:
        os.close(self._file)

    def _append(self, line: bytes) -> None:
        found = os.fstat(self._file)
        if stat.S_ISREG(found.st_mode) and found.st_size + len(line) > self._half_bytes:
            self._set_aside()
        written = os.write(self._file, line)
        if written < len(line):
            os.write(self._file, line[written:])

    def _set_aside(self) -> None:
        with suppress(OSError):
            self._path.replace(f"{self._path}.1")
            fresh = open_log(self._path)
            os.close(self._file)
            self._file = fresh


def open_log(path: Path) -> int:
    """The descriptor of ``path``, made (0600) where it is not there."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
