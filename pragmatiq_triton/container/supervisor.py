"""Runs ``tritonserver`` and the gateway as its children: stops them in order, repeats what they say, says last why."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pragmatiq_triton.boards import create_boards
from pragmatiq_triton.container.repeater import Repeater
from pragmatiq_triton.drain import Drain
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.gateway.owner import Report
from pragmatiq_triton.gateway.settings import GatewaySettings
from pragmatiq_triton.keeper.__main__ import GATEWAY_PREFIX
from pragmatiq_triton.processes import OWN_FILES_ONLY, raise_open_files_limit
from pragmatiq_triton.server.gateway_process import GatewayProcess
from pragmatiq_triton.server.log import end_of, failure_reason, gateway_reason
from pragmatiq_triton.server.watch import Patience
from pragmatiq_triton.stop_signals import StopSignals

UNLOAD_SECONDS = 8
"""For the models' last words when their requests have ended."""
ANSWER_SECONDS = 6
"""For the gateway's answers to be read. Orchestrators have to wait for both beside what calls under way have."""

# An open HTTP connection, even an idle one, uses up all of Triton's exit timeout; from there on 2.51 crashes or hangs.
_GAVE_UP = b"Exit timeout expired"
_UNDER_WAY = re.compile(r"Found (\d+) model versions that have in-flight inferences")
_LOOK_SECONDS = 0.1
_STANDARD_OUTPUT = 1


def supervise(
    command: Sequence[str],
    drain_seconds: float,
    folder: Path,
    gateway: tuple[GatewaySettings, str] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Run ``command`` and, if there is one, the ``gateway`` (its settings, and the server's id) until one of them ends.

    What they say goes to standard output as it comes, a flood of lines cut short. SIGTERM, SIGINT and SIGHUP have new
    calls refused, and once those under way have ended the gateway and then Triton stop. What is left of them
    ``drain_seconds`` and some more later is killed, and all of it at once on a second signal.

    Raises:
        ServerError: one of them ended by itself, a model's process is dead, or calls under way were given up; with the
            reason, out of the log where it is there.
    """
    with StopSignals() as signals:
        triton = _Triton(command, folder)
        front = _Front(*gateway, folder, say) if gateway else None
        problem = ""
        try:
            _watch(triton, front, signals)
        except ServerError as error:
            problem = str(error)
            say(f"stopping: {error}")
        in_order = front.stop(drain_seconds + ANSWER_SECONDS, signals) if front else True
        by_itself = triton.process.poll() is not None
        # Without a gateway Triton itself waits for calls under way.
        triton.stop(UNLOAD_SECONDS + (0 if front else drain_seconds), signals)
        tail = triton.output.finish()
    if problem:
        raise ServerError(problem)
    if not in_order and not by_itself:
        raise ServerError(f"calls under way were given up after {drain_seconds:g} s")
    code = triton.process.returncode
    if by_itself or (code and _UNDER_WAY.findall(tail)[-1:] != ["0"]):
        raise ServerError(f"the Triton server ended with {end_of(code)}:\n{failure_reason(tail)}")


class _Triton:
    """The server's process, with its models' beside it in one session."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._drain = Drain(folder / "drain")
        boards = create_boards(folder)
        # A group of its own: a terminal's Ctrl-C reaches the server once, through here.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | self._drain.variables() | boards,
            start_new_session=True,
            umask=OWN_FILES_ONLY,
        )
        raise_open_files_limit(self.process.pid)
        assert self.process.stdout is not None
        self.output = Repeater(self.process.stdout, _GAVE_UP)

    def stop(self, seconds: float, signals: StopSignals) -> None:
        """Have it end, and kill what is left after so many seconds, or at once on a second signal."""
        if self.process.poll() is None:
            self._drain.begin()
            # Triton knows no SIGHUP.
            self.process.send_signal(signal.SIGINT if signals.number == signal.SIGINT else signal.SIGTERM)
        give_up = time.monotonic() + seconds
        while self.process.poll() is None:
            if signals.at_once or self.output.warned or time.monotonic() >= give_up:
                break
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_LOOK_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class _Front:
    """The gateway, and what it says of the models."""

    def __init__(self, settings: GatewaySettings, server_id: str, folder: Path, say: Callable[[str], None]) -> None:
        read, write = os.pipe()
        # Its lines are JSON, which the repeater's prefix would spoil.
        self._gateway = GatewayProcess(settings, server_id, folder, write, access_log=_STANDARD_OUTPUT)
        os.close(write)
        self._output = Repeater(os.fdopen(read, "rb"), prefix=GATEWAY_PREFIX)
        self._triton = settings.triton.metrics
        self._host = settings.host
        self._patience = Patience()
        self._was_ready = False
        self._say = say

    def look(self) -> None:
        """:class:`ServerError` where it has ended or hangs, or where the models have to be given up."""
        try:
            self._gateway.check()
        except ServerError as error:
            ended = self._gateway.process.poll() is not None
            words = gateway_reason(self._output.finish()) if ended else ""
            raise ServerError(f"{error}: {words}" if words else str(error)) from error
        report = self._gateway.report()
        if report is None:
            return
        if not self._was_ready and report.is_healthy:
            self._was_ready = True
            self._tell(report)
        if self._was_ready:
            self._patience.take_report(report, self._triton)

    def stop(self, seconds: float, signals: StopSignals) -> bool:
        """Let calls under way end; whether they all did, or it was not running any more."""
        was_running = self._gateway.process.poll() is None
        code = self._gateway.stop(seconds, signals.is_at_once)
        self._output.finish()
        return code == 0 or not was_running

    def _tell(self, report: Report) -> None:
        http, grpc, metrics = report.ports
        self._say(f"ready on {self._host}: HTTP {http}, gRPC {grpc}; metrics {metrics}")


def _watch(triton: _Triton, front: _Front | None, signals: StopSignals) -> None:
    """Return once Triton has ended or a signal asks to stop; :class:`ServerError` as :meth:`_Front.look`."""
    while not signals.asked:
        with suppress(subprocess.TimeoutExpired):
            triton.process.wait(_LOOK_SECONDS)
            return
        if front:
            front.look()
