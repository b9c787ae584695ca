"""Standard output and error as they may be: closed, full, or of an encoding that lacks characters."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from pragmatiq_triton.errors import PragmatiqError


@contextmanager
def checked_output() -> Iterator[None]:
    """Let writing to standard output fail in one line, also what waits in its buffer until the end.

    What its encoding lacks is written as an escape. Where a stream is closed from the start, nothing is written.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _usable(sys.stdout), _usable(sys.stderr)
    sys.stdout = output = _CheckedOutput(sys.stdout)
    try:
        try:
            yield
        finally:
            output.flush()
    finally:
        sys.stdout, sys.stderr = before[0] or output.stream, before[1] or sys.stderr


def is_utf8(stream: Any) -> bool:
    """Whether a text stream takes every character."""
    encoding = getattr(stream, "encoding", None) or ""
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def _usable(stream: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - it stays open
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


class _CheckedOutput(io.TextIOBase):
    """A text stream whose failures are errors of ours; libraries know what to do about none of their own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with self._failing_in_one_line():
            return self.stream.write(text)

    def flush(self) -> None:
        with self._failing_in_one_line():
            self.stream.flush()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    @contextmanager
    def _failing_in_one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # Python flushes once more when it ends, and would tell of it in a traceback.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.stream.fileno())
            os.close(null)
            raise PragmatiqError(f"standard output: {error.strerror}; what was to be printed is not complete") from None
