"""Waiting for a server's end while canaries say every few seconds whether its models still answer."""

import threading
import time
from collections.abc import Callable, Sequence

from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.gateway.owner import Report
from pragmatiq_triton.model_folders import ensemble_names
from pragmatiq_triton.probe import State, Verdict, located, probe
from pragmatiq_triton.server.scoring_server import ScoringServer
from pragmatiq_triton.server.server import TritonServer

PERIOD_SECONDS = 3.0
ANSWER_SECONDS = 30.0
PATIENCE = 10
"""So many canaries in a row have to go wrong, which takes five minutes where there is no answer at all: an overloaded
server is slow, not dead."""

_LOOK_SECONDS = 0.1


class Patience:
    """When to give a server up, by what its canaries say."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._rounds = 0

    def take(self, verdicts: Sequence[Verdict]) -> None:
        """Look at a whole round of canaries.

        Raises:
            ServerError: at once when the process of a model has died, and after ``PATIENCE`` rounds in a row that went
                wrong otherwise; the message names the model and says what to do.
        """
        bad = [verdict for verdict in verdicts if verdict.state is not State.HEALTHY]
        if dead := [verdict for verdict in bad if verdict.state is State.DEAD]:
            raise ServerError(
                f"{dead[0]}, and nothing would start it again: serve the repository anew; where this comes back, the "
                "kernel's log (dmesg) says whether the process was killed for memory"
            )
        self._in_a_row = self._in_a_row + 1 if bad else 0
        if self._in_a_row == PATIENCE:
            raise ServerError(
                f"{bad[0]}, {PATIENCE} times in a row: serve the repository anew; where this comes back, let fewer "
                "requests come at once or give the server more cores"
            )

    def take_report(self, report: Report | None, metrics_address: str) -> None:
        """The same for what a gateway said last; a round counts once, and a death shows before its round has ended."""
        if report is None:
            return
        is_new = report.rounds != self._rounds
        if is_new or any(verdict.state is State.DEAD for verdict in report.verdicts):
            self._rounds = report.rounds
            ensembles = [verdict.ensemble for verdict in report.verdicts]
            self.take(located(report.verdicts, metrics_address, ensembles))


def watch(server: ScoringServer | TritonServer, stopping: Callable[[], bool] = lambda: False) -> int | None:
    """Block until ``server`` ends; its exit code, as its ``wait`` gives it.

    None soon after ``stopping`` answers true. Raises :class:`ServerError` while the server still runs where it has to
    be given up (:class:`Patience`), or where its gateway has ended.
    """
    patience = Patience()
    if isinstance(server, ScoringServer):

        def look() -> None:
            patience.take_report(server.report(), server.triton.metrics_address)
    else:
        canaries = _Canaries(server)

        def look() -> None:
            if (verdicts := canaries.answered()) is not None:
                patience.take(verdicts)

    while not stopping():
        code = server.wait(_LOOK_SECONDS)
        if code is not None:
            return code
        look()
    return None


class _Canaries:
    """Canaries of our own, for a server that has no gateway to send them."""

    def __init__(self, server: TritonServer) -> None:
        self._server = server
        self._ensembles = ensemble_names(server.repository)
        self._found: list[Verdict] = []
        self._due = time.monotonic() + PERIOD_SECONDS
        self._thread: threading.Thread | None = None

    def answered(self) -> Sequence[Verdict] | None:
        """The verdicts of a round that has ended since, if one has; never waits."""
        if self._thread is None:
            if time.monotonic() >= self._due:
                self._thread = threading.Thread(target=self._ask, name="canaries", daemon=True)
                self._thread.start()
            return None
        if self._thread.is_alive():
            return None
        self._thread = None
        self._due = time.monotonic() + PERIOD_SECONDS
        return self._found

    def _ask(self) -> None:
        self._found = probe(self._server.http_url, self._ensembles, ANSWER_SECONDS, self._server.metrics_address)
