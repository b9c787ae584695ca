"""Waiting for a server's end while a canary says every few seconds whether its models still answer."""

import threading
from collections.abc import Callable, Sequence

from pragmatiq_triton.embedded.server import TritonServer
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.model_folders import ensemble_names
from pragmatiq_triton.probe import State, Verdict, probe

PERIOD_SECONDS = 3.0
ANSWER_SECONDS = 30.0
PATIENCE = 10
"""So many canaries in a row have to go wrong, which takes five minutes where there is no answer at all: an overloaded
server is slow, not dead."""

_LOOK_SECONDS = 0.1


def watch(server: TritonServer, stopping: Callable[[], bool] = lambda: False) -> int | None:
    """Block until ``server`` ends; its exit code, as :meth:`TritonServer.wait` gives it.

    None soon after ``stopping`` answers true. Raises :class:`ServerError`, which names the model and says what to do,
    while the server still runs: at once when the process of a model has died, and after ``PATIENCE`` canaries in a row
    that went wrong otherwise.
    """
    ensembles = ensemble_names(server.repository)
    in_a_row = 0
    while True:
        code = _ended(server, stopping)
        if code is not None or stopping():
            return code
        bad = [verdict for verdict in _asked(server, ensembles, stopping) if verdict.state is not State.HEALTHY]
        if dead := [verdict for verdict in bad if verdict.state is State.DEAD]:
            raise ServerError(
                f"{dead[0]}, and nothing would start it again: serve the repository anew; where this comes back, the "
                "kernel's log (dmesg) says whether the process was killed for memory"
            )
        in_a_row = in_a_row + 1 if bad else 0
        if in_a_row == PATIENCE:
            raise ServerError(
                f"{bad[0]}, {PATIENCE} times in a row: serve the repository anew; where this comes back, let fewer "
                "requests come at once or give the server more cores"
            )


def _ended(server: TritonServer, stopping: Callable[[], bool]) -> int | None:
    """The exit code if the server ends within a period; None soon after ``stopping`` answers true."""
    for _ in range(round(PERIOD_SECONDS / _LOOK_SECONDS)):
        code = server.wait(_LOOK_SECONDS)
        if code is not None or stopping():
            return code
    return None


def _asked(server: TritonServer, ensembles: Sequence[str], stopping: Callable[[], bool]) -> Sequence[Verdict]:
    """A canary's verdicts; none soon after ``stopping`` answers true."""
    found: list[Verdict] = []

    def ask() -> None:
        found.extend(probe(server.http_url, ensembles, ANSWER_SECONDS, server.metrics_address))

    thread = threading.Thread(target=ask, name="canaries", daemon=True)
    thread.start()
    while thread.is_alive() and not stopping():
        thread.join(_LOOK_SECONDS)
    return found if not thread.is_alive() else []
