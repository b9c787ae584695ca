"""Opens the door and closes it: both services, the metrics, the canary, and the way out."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import monotonic

import grpc
import uvicorn

from pragmatiq_triton.boards import GIVEN_UP, STAGE_TIMES
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.gateway.admission import Admission
from pragmatiq_triton.gateway.auth import make_authentication
from pragmatiq_triton.gateway.call import Call
from pragmatiq_triton.gateway.caller_limits import CallerAccounts
from pragmatiq_triton.gateway.door import Door
from pragmatiq_triton.gateway.health import Health
from pragmatiq_triton.gateway.identity import read_identity
from pragmatiq_triton.gateway.limits import Limits
from pragmatiq_triton.gateway.over_grpc.service import InferenceService, server_options
from pragmatiq_triton.gateway.over_http.app import make_app
from pragmatiq_triton.gateway.over_http.protocol import BoundedProtocol, close_overdue
from pragmatiq_triton.gateway.owner import Report, answer_owner
from pragmatiq_triton.gateway.policy import check_policy
from pragmatiq_triton.gateway.scoring import Scoring
from pragmatiq_triton.gateway.seen.page import make_metrics_app
from pragmatiq_triton.gateway.seen.watchers import make_watchers
from pragmatiq_triton.gateway.settings import GatewaySettings
from pragmatiq_triton.gateway.tls import Certificates
from pragmatiq_triton.gateway.triton.pool import Pool
from pragmatiq_triton.given_up import GivenUp
from pragmatiq_triton.stage_times import StageTimes

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOK_SECONDS = 0.02
_LAST_SECONDS = 5
"""For answers that are written and for bodies that still come, once every accepted call has its answer."""


class _Service(uvicorn.Server):
    """uvicorn without signal handlers of its own, which looks once a second for callers that take too long
    and at files that may be others."""

    def __init__(
        self,
        app: object,
        host: str,
        port: int,
        limits: Limits,
        refused: Callable[[Call], None],
        certificates: Certificates | None = None,
        looks: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._looks = looks
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=partial(BoundedProtocol, limits=limits, refused=refused),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # an address is the connection's, whatever a caller says of itself
            server_header=False,
            timeout_keep_alive=int(limits.idle_seconds),
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        config.load()
        if certificates is not None:
            config.ssl = certificates.context
        super().__init__(config)
        self._socket = _listen(host, port)
        self.port = int(self._socket.getsockname()[1])

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve([self._socket])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            for look in self._looks:
                look()
            close_overdue(self.server_state.connections, asyncio.get_running_loop().time)
        return await super().on_tick(counter)


async def run(settings: GatewaySettings) -> None:
    """Serve until TERM, INT or HUP, or until the owner has ended; then calls under way have ``drain_seconds`` to end.

    :class:`ServerError` where a service cannot listen or ends by itself, and for calls that had to be given up.
    """
    stop = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    policy = settings.policy
    check_policy(policy, settings.host)
    identity = read_identity(Path(settings.repository), Path(settings.served))
    certificates = Certificates(policy.tls) if policy.tls.certificate else None
    limits = policy.limits
    pool = Pool(settings.triton.http)
    boards = Path(settings.triton.boards) if settings.triton.boards else None
    given_up = GivenUp(boards and boards / GIVEN_UP, writes=True)
    scoring = Scoring(pool, Admission(limits), given_up, StageTimes(boards and boards / STAGE_TIMES))
    health = Health(Pool(settings.triton.http), identity.ensembles.values())
    accounts = CallerAccounts(policy.callers)
    seen = make_watchers(settings, identity, scoring.admission, health)
    authentication = make_authentication(policy.auth, policy.tls)
    unreadable = authentication.unreadable
    looks = [authentication.look]
    if (pair := certificates) is not None:
        unreadable["tls.certificate"] = lambda: pair.unreadable_seconds
        looks.append(pair.look)
    seen.metrics.tell_unreadable(unreadable)
    door = Door(identity, scoring, health, limits, authentication, accounts, watchers=seen.watchers)

    def refused(call: Call) -> None:
        seen.metrics.refused(call)
        door.ended(call)

    http = _Service(make_app(door), settings.host, settings.http_port, limits, refused, certificates, looks)
    # In plain text, without keys: orchestrators and Prometheus ask here, and nothing of customers is told.
    metrics_host = settings.metrics_host or settings.host
    page = make_metrics_app(settings.triton.metrics, door, seen.metrics)
    metrics = _Service(page, metrics_host, settings.metrics_port, limits, seen.metrics.refused)
    over_grpc = grpc.aio.server(options=server_options(limits))
    over_grpc.add_generic_rpc_handlers((InferenceService(door),))
    grpc_port = _listen_with_grpc(over_grpc, settings.host, settings.grpc_port, certificates)
    await over_grpc.start()
    if settings.owner is not None:
        ports = (http.port, grpc_port, metrics.port)
        answer_owner(
            settings.owner, lambda: Report(ports, health.rounds, tuple(health.verdicts.values())), gone=stop.set
        )
    tasks = [asyncio.create_task(each) for each in (http.serve(), metrics.serve(), health.watch())]
    stopping = asyncio.create_task(stop.wait())
    ended, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    n_given_up = await _drain(scoring, settings.drain_seconds if stopping in ended else 0)
    http.should_exit = metrics.should_exit = True
    await over_grpc.stop(_LAST_SECONDS)
    for task in (tasks[2], stopping):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    pool.close()
    seen.close()
    for task in tasks:
        if task in ended:
            raise ServerError(f"a service ended by itself: {task.exception()!r}")
    if n_given_up:
        raise ServerError(f"calls given up: {n_given_up} had no answer after {settings.drain_seconds:g} s")


async def _drain(scoring: Scoring, seconds: float) -> int:
    """Refuse new calls and let those under way end; after ``seconds`` the others are answered that the server stopped.

    How many those were. Connections are still accepted meanwhile: a refusal is better than none.
    """
    scoring.is_stopping = True
    give_up = monotonic() + seconds
    while scoring.under_way and monotonic() < give_up:
        await asyncio.sleep(_LOOK_SECONDS)
    given_up = scoring.under_way
    scoring.give_up()
    return given_up


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise _taken(host, port, error.strerror or str(error)) from error


def _listen_with_grpc(server: grpc.aio.Server, host: str, port: int, certificates: Certificates | None) -> int:
    address = f"{host}:{port}"
    try:
        if certificates is not None:
            return int(server.add_secure_port(address, certificates.for_grpc()))
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise _taken(host, port, str(error)) from error


def _taken(host: str, port: int, why: str) -> ServerError:
    return ServerError(f"cannot listen on {host}:{port}: {why}. Choose another port, or 0 for any")
