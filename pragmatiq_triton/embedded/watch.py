"""Waiting for a server's end while a canary says every few seconds whether its models still answer."""

from pragmatiq_triton.embedded.server import TritonServer
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.model_folders import ensemble_names
from pragmatiq_triton.probe import State, probe

PERIOD_SECONDS = 3.0
ANSWER_SECONDS = 30.0
PATIENCE = 10
"""So many canaries in a row have to go wrong, which takes five minutes where there is no answer at all: an overloaded
server is slow, not dead."""


def watch(server: TritonServer) -> int:
    """Block until ``server`` ends; its exit code, as :meth:`TritonServer.wait` gives it.

    Raises :class:`ServerError`, which names the model and says what to do, while the server still runs: at once when
    the process of a model has died, and after ``PATIENCE`` canaries in a row that went wrong otherwise.
    """
    ensembles = ensemble_names(server.repository)
    in_a_row = 0
    while (code := server.wait(PERIOD_SECONDS)) is None:
        verdicts = probe(server.http_url, ensembles, ANSWER_SECONDS, server.metrics_address)
        bad = [verdict for verdict in verdicts if verdict.state is not State.HEALTHY]
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
    return code
