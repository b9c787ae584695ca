"""Opens the door and closes it: both services, the metrics, the canary, and the way out."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import uvicorn

from pragmatiq_triton.gateway.admission import Admission
from pragmatiq_triton.gateway.door import Door
from pragmatiq_triton.gateway.health import Health
from pragmatiq_triton.gateway.identity import read_identity
from pragmatiq_triton.gateway.metrics import make_metrics_app
from pragmatiq_triton.gateway.over_grpc.service import InferenceService, server_options
from pragmatiq_triton.gateway.over_http.app import make_app
from pragmatiq_triton.gateway.over_http.protocol import BoundedProtocol, close_overdue
from pragmatiq_triton.gateway.scoring import Scoring
from pragmatiq_triton.gateway.settings import GatewaySettings
from pragmatiq_triton.gateway.triton.pool import Pool
from pragmatiq_triton.given_up import GivenUp

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _HttpServer(uvicorn.Server):
    """uvicorn without signal handlers of its own, which looks once a second for callers that take too long."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            close_overdue(self.server_state.connections, asyncio.get_running_loop().time)
        return await super().on_tick(counter)


async def run(settings: GatewaySettings) -> None:
    """Serve until TERM, INT or HUP; then calls under way have ``drain_seconds`` to end."""
    stop = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    identity = read_identity(Path(settings.repository))
    limits = settings.limits
    pool = Pool(settings.triton.http)
    board = Path(settings.triton.given_up) if settings.triton.given_up else None
    scoring = Scoring(pool, Admission(limits), GivenUp(board, writes=True))
    door = Door(identity, scoring, Health(Pool(settings.triton.http), identity.ensembles.values()), limits)
    http = _http_server(make_app(door), settings.host, settings.http_port, settings)
    metrics = _http_server(make_metrics_app(settings.triton.metrics), settings.host, settings.metrics_port, settings)
    over_grpc = grpc.aio.server(options=server_options(limits))
    over_grpc.add_generic_rpc_handlers((InferenceService(door),))
    over_grpc.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    await over_grpc.start()
    tasks = [asyncio.create_task(each) for each in (http.serve(), metrics.serve(), door.health.watch())]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    scoring.is_stopping = True
    http.should_exit = metrics.should_exit = True
    await over_grpc.stop(settings.drain_seconds)
    for task in (tasks[2], stopping):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    pool.close()


def _http_server(app: object, host: str, port: int, settings: GatewaySettings) -> _HttpServer:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=host,
        port=port,
        http=partial(BoundedProtocol, limits=settings.limits),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # an address is the connection's, whatever a caller says of itself
        server_header=False,
        timeout_keep_alive=int(settings.limits.idle_seconds),
        timeout_graceful_shutdown=int(settings.drain_seconds),
        backlog=2048,
    )
    return _HttpServer(config)
