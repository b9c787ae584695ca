"""Runs ``tritonserver`` as its only child: stops it in order, repeats its log, and says last why it ended."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pragmatiq_triton.container.repeater import Repeater
from pragmatiq_triton.drain import Drain
from pragmatiq_triton.embedded.log import end_of, failure_reason
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.processes import OWN_FILES_ONLY, raise_open_files_limit
from pragmatiq_triton.stop_signals import StopSignals

# For the models' last words when their requests have ended.
_UNLOAD_SECONDS = 10
# An open HTTP connection, even an idle one, uses up all of Triton's exit timeout; from there on 2.51 crashes or hangs.
_GAVE_UP = b"Exit timeout expired"
_UNDER_WAY = re.compile(r"Found (\d+) model versions that have in-flight inferences")
_LOOK_SECONDS = 0.1


def supervise(command: Sequence[str], drain_seconds: float) -> None:
    """Run ``command`` until it ends; its output goes to standard output as it comes, a flood of lines cut short.

    SIGTERM, SIGINT and SIGHUP have its models refuse new requests and the server stop. What is left of it
    ``drain_seconds`` and ten more later is killed, and all of it at once on a second signal.

    Raises :class:`ServerError`, with the reason out of its log, if it ended by itself or gave up requests.
    """
    with tempfile.TemporaryDirectory(prefix="pragmatiq-") as folder, StopSignals() as signals:
        drain = Drain(Path(folder, "drain"))
        # A group of its own: a terminal's Ctrl-C reaches the server once, through here.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | drain.variables(),
            start_new_session=True,
            umask=OWN_FILES_ONLY,
        )
        raise_open_files_limit(process.pid)
        assert process.stdout is not None
        repeater = Repeater(process.stdout, _GAVE_UP)
        stopping = _wait(process, signals, drain, drain_seconds + _UNLOAD_SECONDS, repeater)
        _kill(process)
        tail = repeater.finish()
    code = process.returncode
    if not stopping or (code and _UNDER_WAY.findall(tail)[-1:] != ["0"]):
        raise ServerError(f"the Triton server ended with {end_of(code)}:\n{failure_reason(tail)}")


def _wait(
    process: "subprocess.Popen[bytes]", signals: StopSignals, drain: Drain, stop_seconds: float, repeater: Repeater
) -> bool:
    """Return once the process has ended; whether it was asked to."""
    give_up = None
    while process.poll() is None:
        if signals.asked and give_up is None:
            drain.begin()
            # Triton knows no SIGHUP.
            process.send_signal(signal.SIGINT if signals.number == signal.SIGINT else signal.SIGTERM)
            give_up = time.monotonic() + stop_seconds
        if give_up is not None and (signals.at_once or repeater.warned or time.monotonic() >= give_up):
            _kill(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
    return give_up is not None


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End the server and its models' processes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
