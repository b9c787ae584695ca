"""The keeper of one server: reads its output into a log, and clears up when whoever started the server ends.

    python -m pragmatiq_triton.keeper ID FOLDER LOG OUTPUT GATEWAY_OUTPUT LOCK

The last three are descriptors: the output of Triton and of the gateway to read, and the lock to hold. The owner holds
the other end of standard input and never writes: when it lets go, on purpose or because it was killed, what is left of
the server is killed and removed. The last lines then go to standard output.
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

GATEWAY_PREFIX = b"gateway: "
"""Before each line of the gateway's: Triton's stand beside them."""

_READ_BYTES = 1 << 16
_LONGEST_LINE = 1 << 20
_DRAIN_SECONDS = 2.0


class _Said:
    """The lines of all outputs, within bounds: in the log, and the last of them."""

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._limit = LineLimit()
        self.kept: deque[bytes] = deque(maxlen=KEPT_LINES)

    def line(self, line: bytes) -> None:
        self._take(self._limit(line))

    def flush(self) -> None:
        """Say what was left out so far."""
        self._take(self._limit.flush())

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            self._log.write(line)
            self.kept.append(line)


class _Output:
    """One output, a line at a time, each behind ``prefix``."""

    def __init__(self, said: _Said, prefix: bytes = b"") -> None:
        self._said = said
        self._prefix = prefix
        self._rest = b""

    def add(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._said.line(self._prefix + line + b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self.end()

    def end(self) -> None:
        """Take what came last although no line break followed."""
        if self._rest:
            self._said.line(self._prefix + self._rest + b"\n")
            self._rest = b""


def keep(server_id: str, folder: Path, log: LogFile, server_output: int, gateway_output: int) -> None:
    """Run until standard input ends."""
    said = _Said(log)
    outputs = {server_output: _Output(said), gateway_output: _Output(said, GATEWAY_PREFIX)}
    with selectors.DefaultSelector() as selector:
        for readable in (sys.stdin.fileno(), *outputs):
            selector.register(readable, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select(WINDOW_SECONDS)}
            if not ready:
                said.flush()
            for readable in ready & set(outputs):
                data = os.read(readable, _READ_BYTES)
                outputs[readable].add(data)
                if not data:
                    selector.unregister(readable)
            if sys.stdin.fileno() in ready:
                break
    remove(server_id, None)
    for readable, output in outputs.items():
        for data in _what_is_left(readable):
            output.add(data)
        output.end()
    said.flush()
    log.close()
    with suppress(OSError):
        sys.stdout.buffer.write(b"".join(said.kept))
        sys.stdout.buffer.flush()
    remove(server_id, folder)


def _what_is_left(output: int) -> Iterator[bytes]:
    os.set_blocking(output, False)
    give_up = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < give_up:
        try:
            data = os.read(output, _READ_BYTES)
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
    server_id, folder, log, server_output, gateway_output, _ = sys.argv[1:]
    keep(server_id, Path(folder), LogFile(Path(log)), int(server_output), int(gateway_output))


if __name__ == "__main__":
    main()
