"""Whether a server answers: a canary record goes through every ensemble, over HTTP.

Triton's readiness does not tell. Measured with Triton 2.51: when the process of a Python model has died, server, model
and ensemble stay ready for good, nothing restarts the process, and only inference says so, a second later. The gateway
sends canaries itself, every 2 seconds; its readiness is what they said last, and that is what it is asked for.

Imports nothing but the standard library and is quick to start: a health check may run it.
"""

import json
import re
import sys
import threading
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Collection, Sequence
from enum import Enum
from http.client import HTTPConnection, HTTPException
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.model_folders import ensemble_names

SERVER = "pragmatiq-triton"
"""The name that the gateway gives itself in a server's metadata."""

CANARY = "canary"
"""The request parameter by which the models count canaries apart (:mod:`pragmatiq_triton.serving.terms`)."""

TIMEOUT_SECONDS = 4.0

_METRICS_SECONDS = 0.5
_PENDING = re.compile(r'^nv_inference_pending_request_count{model="([^"]+)".*} (\S+)$', re.MULTILINE)
_DEAD = re.compile(r"Stub process '(.+?)(?:_\d+_\d+)?' is not healthy")
_BODY = json.dumps(
    {
        "inputs": [{"name": "record", "shape": [1, 1], "datatype": "BYTES", "data": ['{"events": []}']}],
        "outputs": [{"name": "embedding"}],
        "parameters": {CANARY: True},
    }
)


class State(Enum):
    """What came of a canary."""

    HEALTHY = "healthy"
    DEAD = "dead"
    """A model's process has ended or is frozen; Triton 2.51 does not come back from that."""
    FAILED = "failed"
    """An error, or an answer that is none; it may be different next time."""
    SILENT = "silent"
    """No answer in time: a model hangs, or there is more to do than time to do it."""
    UNREACHABLE = "unreachable"


class Verdict(NamedTuple):
    """On one ensemble: how long its canary took, and unless it is healthy, what is wrong with which model.

    ``where`` is the model at fault if that is known, else the ensemble, or the server's address.
    """

    ensemble: str
    milliseconds: float
    state: State
    where: str
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.problem or f'{self.milliseconds:.1f} ms'}"


def probe(
    address: str, ensembles: Sequence[str], timeout: float = TIMEOUT_SECONDS, metrics_address: str | None = None
) -> list[Verdict]:
    """Send a canary through each of ``ensembles`` of the server at ``address`` (``host:port``, HTTP), all at once.

    A gateway is asked for the readiness of each instead. Returns within ``timeout`` seconds, but for half a second to
    ask ``metrics_address`` which models have requests waiting where an answer did not come.
    """
    found: dict[str, Verdict] = {}

    def ask(ensemble: str) -> None:
        found[ensemble] = _ask(address, ensemble, timeout)

    # Daemons, so that whoever interrupts this does not wait for them.
    threads = [threading.Thread(target=ask, args=(each,), name="canary", daemon=True) for each in ensembles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdicts = [found[ensemble] for ensemble in ensembles]
    return located(verdicts, metrics_address, ensembles) if metrics_address else verdicts


def located(verdicts: Sequence[Verdict], metrics_address: str, ensembles: Collection[str]) -> list[Verdict]:
    """The verdicts with the models that have requests waiting in an ensemble's place, where no answer came."""
    if not any(verdict.state is State.SILENT for verdict in verdicts):
        return list(verdicts)
    waiting = [model for model in _waiting_for(metrics_address) if model not in ensembles]
    return [_located(verdict, waiting) for verdict in verdicts]


def dead_process(words: str) -> tuple[str, str] | None:
    """The model whose process has ended and Triton's sentence on it, if that is what ``words`` of a server say."""
    dead = _DEAD.search(words)
    return (dead[1], dead[0]) if dead else None


def _ask(address: str, ensemble: str, timeout: float) -> Verdict:
    started = perf_counter()
    try:
        if _is_gateway(address, timeout):
            status, body = _call(address, "GET", f"/v2/models/{ensemble}/ready", timeout)
            state, where, problem = _judge_readiness(ensemble, status, body)
        else:
            status, body = _call(address, "POST", f"/v2/models/{ensemble}/infer", timeout, _BODY)
            state, where, problem = _judge(ensemble, status, body)
    except TimeoutError:
        state, where, problem = State.SILENT, ensemble, f"no answer in {timeout:g} s"
    except (OSError, HTTPException, UnicodeError) as error:
        state, where, problem = State.UNREACHABLE, address, f"no server answers: {error}"
    return Verdict(ensemble, 1000 * (perf_counter() - started), state, where, problem)


def _judge(ensemble: str, status: int, body: str) -> tuple[State, str, str]:
    """State, place and problem that an answer tells of."""
    try:
        answer = json.loads(body)
        if status == 200:
            embedding = answer["outputs"][0]["data"]
            if embedding and all(map(isfinite, embedding)):
                return State.HEALTHY, ensemble, ""
            return State.FAILED, ensemble, "the embedding is not finite"
        words = " ".join(answer["error"].removeprefix(f"in ensemble '{ensemble}', ").split())
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return State.FAILED, ensemble, f"HTTP {status} with what is no answer of Triton's: {body[:100]!r}"
    if dead := dead_process(words):
        return State.DEAD, *dead
    return State.FAILED, ensemble, f"HTTP {status}: {words}"


def _is_gateway(address: str, timeout: float) -> bool:
    status, body = _call(address, "GET", "/v2", timeout)
    try:
        return bool(status == 200 and json.loads(body)["name"] == SERVER)
    except (ValueError, KeyError, TypeError):
        return False


def _judge_readiness(ensemble: str, status: int, body: str) -> tuple[State, str, str]:
    """State, place and problem that the gateway's readiness tells of: ``PLACE: PROBLEM``, or why it is about to end."""
    if status == 200:
        return State.HEALTHY, ensemble, ""
    try:
        words = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return State.FAILED, ensemble, f"HTTP {status}: {body[:100]!r}"
    if dead := dead_process(words):
        return State.DEAD, *dead
    return State.FAILED, ensemble, words.removeprefix(f"{ensemble}: ")


def _waiting_for(metrics_address: str) -> list[str]:
    """The models that have requests waiting, as far as the server's metrics can be had."""
    try:
        _, metrics = _call(metrics_address, "GET", "/metrics", _METRICS_SECONDS)
    except (OSError, HTTPException):
        return []
    return [model for model, waiting in _PENDING.findall(metrics) if float(waiting)]


def _located(verdict: Verdict, waiting: Sequence[str]) -> Verdict:
    """The verdict with the models that have requests ``waiting`` in the ensemble's place, where no answer came."""
    if verdict.state is not State.SILENT or not waiting:
        return verdict
    return verdict._replace(where=", ".join(waiting), problem=f"{verdict.problem}, requests wait here")


def _call(address: str, method: str, path: str, timeout: float, body: str | None = None) -> tuple[int, str]:
    """Status and body; straight to the address, whatever proxy the process environment names."""
    connection = HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


_HELP = """\
Send a canary, a record without events, through every ensemble of a Triton server, and say whether all answer.

Readiness (/v2/health/ready) stays 200 when the process of a model has died; a canary does not get through. It takes a
few milliseconds, or one second where a process is dead.

  healthy: scoring: 3.1 ms
  unhealthy: scorer: Stub process 'scorer_0_0' is not healthy
  unhealthy: scoring: no answer in 4 s
  unhealthy: 127.0.0.1:8000: no server answers: [Errno 111] Connection refused
"""

_EPILOG = """\
Exit status: 0 where every ensemble answers with finite numbers, else 1.

A dead process does not come back before the server is started again. No answer in time may also mean that there is
more to do than time to do it: have that happen a few times in a row before you act on it.

Canaries carry the request parameter "canary": true. The models count them as pragmatiq_requests_total with the outcome
canary and nowhere else; Triton's own metrics count them among all requests.
"""


def main() -> None:
    """The command line: ``python -m pragmatiq_triton.probe``."""
    parser = ArgumentParser(
        prog="python -m pragmatiq_triton.probe",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", default="127.0.0.1:8000", metavar="HOST:PORT", help="HTTP service [127.0.0.1:8000]")
    parser.add_argument(
        "--metrics-url",
        metavar="HOST:PORT",
        help="metrics service, asked what is waiting where there is no answer [port 8002 of the same host]",
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("/models"),
        metavar="DIR",
        help="the server's model repository: which ensembles there are [/models]",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help=f"for all answers; more than 1, so that a dead process shows [{TIMEOUT_SECONDS:g}]",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object: healthy, ensembles")
    options = parser.parse_args()
    try:
        ensembles = ensemble_names(options.repository)
        if not ensembles:
            raise ArtifactError(f"{options.repository} holds no ensemble: expected what pragmatiq export wrote")
    except ArtifactError as error:
        sys.exit(f"unhealthy: {error}")
    metrics_url = options.metrics_url or f"{options.url.rpartition(':')[0]}:8002"
    verdicts = probe(options.url, ensembles, options.timeout, metrics_url)
    bad = [verdict for verdict in verdicts if verdict.state is not State.HEALTHY]
    if options.json:
        told = [verdict._asdict() | {"state": verdict.state.value} for verdict in verdicts]
        print(json.dumps({"healthy": not bad, "ensembles": told}))
    else:
        # One line: that is what container engines show. Ensembles share models, so some say the same.
        words = dict.fromkeys(map(str, bad or verdicts))
        print("unhealthy:" if bad else "healthy:", "; ".join(words))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
