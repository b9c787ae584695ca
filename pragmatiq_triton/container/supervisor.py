"""Runs ``tritonserver`` as its only child: stops it in order, repeats its log, and says last why it ended."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pragmatiq_triton.drain import Drain
from pragmatiq_triton.embedded.log import failure_reason
from pragmatiq_triton.errors import ServerError

# Enough for the reasons of every model of a repository that does not load.
_KEPT_LINES = 1000
# For the models' last words when their requests have ended.
_UNLOAD_SECONDS = 10
# An open HTTP connection, even an idle one, uses up all of Triton's exit timeout; from there on 2.51 crashes or hangs.
_GAVE_UP = b"Exit timeout expired"
_UNDER_WAY = re.compile(r"Found (\d+) model versions that have in-flight inferences")


def supervise(command: Sequence[str], drain_seconds: float) -> None:
    """Run ``command`` until it ends; its output goes to standard output as it comes.

    SIGTERM and SIGINT have its models refuse new requests and the server stop. What is left of it ``drain_seconds`` and
    ten more later is killed.

    Raises :class:`ServerError`, with the reason out of its log, if it ended by itself or gave up requests.
    """
    with tempfile.TemporaryDirectory(prefix="pragmatiq-") as folder:
        server = _Server(command, Drain(Path(folder, "drain")), drain_seconds)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.stop)
        tail = server.run()
    if not server.stopping or (server.code and _UNDER_WAY.findall(tail)[-1:] != ["0"]):
        ended = f"exit code {server.code}" if server.code >= 0 else signal.Signals(-server.code).name
        raise ServerError(f"the Triton server ended with {ended}:\n{failure_reason(tail)}")


class _Server:
    """The child process."""

    def __init__(self, command: Sequence[str], drain: Drain, drain_seconds: float) -> None:
        self._command = command
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self.stopping = False
        self.code = 0

    def run(self) -> str:
        """Start it, repeat what it writes until it ends, and return the last of it."""
        # A group of its own: a terminal's Ctrl-C reaches the server once, through here.
        process = self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | self._drain.variables(),
            start_new_session=True,
        )
        if self.stopping:
            process.terminate()
        assert process.stdout is not None
        kept: deque[bytes] = deque(maxlen=_KEPT_LINES)
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            kept.append(line)
            if self.stopping and _GAVE_UP in line:
                self._kill()
        self.code = process.wait()
        return b"".join(kept).decode("utf-8", "replace")

    def stop(self, number: int, _: Any) -> None:
        """Handle a stop signal; a second one goes to the server as well, which then does not wait."""
        if not self.stopping:
            self._drain.begin()
            backstop = threading.Timer(self._drain_seconds + _UNLOAD_SECONDS, self._kill)
            backstop.daemon = True
            backstop.start()
        self.stopping = True
        if self._process is not None:
            self._process.send_signal(number)

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
