"""Runs ``tritonserver`` as its only child: passes signals on, repeats its log, and says last why it ended."""

import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from types import FrameType

from pragmatiq_triton.embedded.log import failure_reason
from pragmatiq_triton.errors import ServerError

# Enough for the reasons of every model of a repository that does not load.
_KEPT_LINES = 1000
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def supervise(command: Sequence[str]) -> None:
    """Run ``command`` until it ends; its output goes to standard output as it comes.

    Raises :class:`ServerError`, with the reason out of its log, if it ended by itself or other than well.
    """
    stopping = False
    process: subprocess.Popen[bytes] | None = None

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        if process is not None:
            process.send_signal(number)

    for number in _STOP_SIGNALS:
        signal.signal(number, stop)
    # A group of its own: a terminal's Ctrl-C reaches the server once, through here.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    if stopping:
        process.terminate()
    assert process.stdout is not None
    kept: deque[bytes] = deque(maxlen=_KEPT_LINES)
    for line in process.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        kept.append(line)
    code = process.wait()
    if code or not stopping:
        ended = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        reason = failure_reason(b"".join(kept).decode("utf-8", "replace"))
        raise ServerError(f"the Triton server {ended}:\n{reason}")
