"""The keeper of one server: reads its output into a log, and clears up when whoever started the server ends.

    python -m pragmatiq_triton.keeper ID FOLDER LOG OUTPUT LOCK

``OUTPUT`` and ``LOCK`` are descriptors: the server's output to read, and the lock to hold. The owner holds the other
end of standard input and never writes: when it lets go, on purpose or because it was killed, what is left of the server
is killed and removed. The last lines then go to standard output.
"""

import os
import selectors
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pragmatiq_triton.keeper.line_limit import WINDOW_SECONDS, LineLimit
from pragmatiq_triton.keeper.log_file import LogFile
from pragmatiq_triton.keeper.remains import remove

KEPT_LINES = 1000
"""Enough for the reasons of every model of a repository that does not load."""

_READ_BYTES = 1 << 16
_LONGEST_LINE = 1 << 20
_DRAIN_SECONDS = 2.0


class _Output:
    """The server's output, a line at a time."""

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._limit = LineLimit()
        self._rest = b""
        self.kept: deque[bytes] = deque(maxlen=KEPT_LINES)

    def add(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line + b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self.end()

    def end(self) -> None:
        """Take what came last although no line break followed."""
        if self._rest:
            self._line(self._rest + b"\n")
            self._rest = b""

    def flush(self) -> None:
        """Say what was left out so far."""
        for line in self._limit.flush():
            self._log.write(line)

    def _line(self, line: bytes) -> None:
        for each in self._limit(line):
            self._log.write(each)
            self.kept.append(each)


def keep(server_id: str, folder: Path, log: LogFile, server_output: int) -> None:
    """Run until standard input ends."""
    output = _Output(log)
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(server_output, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select(WINDOW_SECONDS)}
            if not ready:
                output.flush()
            if server_output in ready:
                data = os.read(server_output, _READ_BYTES)
                output.add(data)
                if not data:
                    selector.unregister(server_output)
            if sys.stdin.fileno() in ready:
                break
    remove(server_id, None)
    for data in _what_is_left(server_output):
        output.add(data)
    output.end()
    output.flush()
    log.close()
    with suppress(OSError):
        sys.stdout.buffer.write(b"".join(output.kept))
        sys.stdout.buffer.flush()
    remove(server_id, folder)


def _what_is_left(server_output: int) -> Iterator[bytes]:
    os.set_blocking(server_output, False)
    give_up = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < give_up:
        try:
            data = os.read(server_output, _READ_BYTES)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        if not data:
            return
        yield data


def main() -> None:
    """The command line."""
    # It ends when its owner has; a service manager that signals all processes of a service does not change that.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    server_id, folder, log, server_output, _ = sys.argv[1:]
    keep(server_id, Path(folder), LogFile(Path(log)), int(server_output))


if __name__ == "__main__":
    main()
