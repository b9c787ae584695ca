"""Bounds what a server says: of a flood of lines the first are kept, the others are counted."""

import re
import time
from collections.abc import Callable

WINDOW_SECONDS = 10.0
PER_SOURCE = 100
"""Lines of one source, a place in the server's code, in a window."""
PER_WINDOW = 2000
"""Lines in a window, of all sources."""

_SHOWN = 120
_SOURCE_WORDS = 80
# `E1122 13:31:27.321533 5924 http_server.cc:642] ...`: the place says what the line is about.
_PLACE = re.compile(rb"\S+\.(?:cc|h|py):\d+\]")
_DIGITS = re.compile(rb"\d+")


class LineLimit:
    """Lets lines through, up to so many of one source and of all in ten seconds; says how many it left out.

    So 200,000 lines a second, as a server without free descriptors writes them, become ten, and what other parts of
    the server have to say meanwhile is still seen.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin = clock()
        self._total = 0
        self._left_out = 0
        self._of_source: dict[bytes, int] = {}
        self._example = b""

    def __call__(self, line: bytes) -> list[bytes]:
        """What is to be written because of ``line``: a note on what was left out before, and the line if it may."""
        written = self.flush() if self._clock() - self._begin >= WINDOW_SECONDS else []
        source = _source(line)
        count = self._of_source.get(source, 0) + 1
        if self._total < PER_WINDOW and count <= PER_SOURCE:
            self._of_source[source] = count
            self._total += 1
            written.append(line)
        else:
            self._left_out += 1
            self._example = self._example or line[:_SHOWN]
        return written

    def flush(self) -> list[bytes]:
        """End the window; the note, if lines were left out in it."""
        note = [note_of(self._left_out, f"such as {self._example.strip()!r:.200}")] if self._left_out else []
        self._begin, self._total, self._left_out, self._example = self._clock(), 0, 0, b""
        self._of_source.clear()
        return note


def note_of(lines: int, why: str) -> bytes:
    """The line that stands for ``lines`` that are not there."""
    return f"[pragmatiq] {lines:,} lines left out: {why}\n".encode("utf-8", "replace")


def _source(line: bytes) -> bytes:
    place = _PLACE.search(line[:200])
    return place[0] if place else _DIGITS.sub(b"0", line[:_SOURCE_WORDS])
