"""Repeats a server's output on standard output, without ever making the server wait for who reads it."""

import queue
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import IO

from pragmatiq_triton.keeper.line_limit import LineLimit, note_of

# Enough for the reasons of every model of a repository that does not load.
_KEPT_LINES = 1000
_WAITING_LINES = 5000
_LONGEST_LINE = 1 << 20
_END_SECONDS = 5.0


class Repeater:
    """Reads ``output`` from its start to its end, in threads.

    What standard output does not take in time is counted and said. ``warned`` turns true with a line that holds
    ``warning``. ``prefix`` comes before each line.
    """

    def __init__(self, output: IO[bytes], warning: bytes | None = None, prefix: bytes = b"") -> None:
        self.warned = False
        self._output = output
        self._warning = warning
        self._prefix = prefix
        self._kept: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._waiting: queue.Queue[bytes] = queue.Queue(_WAITING_LINES)
        self._lost = 0
        self._reader = threading.Thread(target=self._read, name="log-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._reader.start()
        self._writer.start()

    def finish(self) -> str:
        """Wait for the end of what there is to repeat, 5 seconds at most each way; the last lines."""
        self._reader.join(_END_SECONDS)
        with suppress(queue.Full):
            self._waiting.put(b"", timeout=_END_SECONDS)
            self._writer.join(_END_SECONDS)
        return b"".join(self._kept.copy()).decode("utf-8", "replace")

    def _read(self) -> None:
        limit = LineLimit()
        while line := self._output.readline(_LONGEST_LINE):
            self.warned = self.warned or (self._warning is not None and self._warning in line)
            self._take(limit(self._prefix + line))
        self._take(limit.flush())

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            self._kept.append(line)
            try:
                if self._lost:
                    self._waiting.put_nowait(note_of(self._lost, "standard output was not read"))
                    self._lost = 0
                self._waiting.put_nowait(line)
            except queue.Full:
                self._lost += 1

    def _write(self) -> None:
        while line := self._waiting.get():
            # A reader that has gone does not end a server.
            with suppress(OSError, ValueError):
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
