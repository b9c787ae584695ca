"""One page of metrics: Triton's own, the models', and the gateway's."""

from http.client import HTTPConnection

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pragmatiq_triton.gateway.door import Door
from pragmatiq_triton.gateway.errors import UnavailableError

_SECONDS = 5.0


def make_metrics_app(triton: str, door: Door) -> Starlette:
    """The application on the metrics port; ``triton`` is where Triton has its metrics.

    Readiness is told here as well: whoever asks for it on this port needs neither keys nor certificates.
    """

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(_of_triton, triton), media_type="text/plain; version=0.0.4")

    async def ready(request: Request) -> Response:
        try:
            door.require_ready()
        except UnavailableError as error:
            return PlainTextResponse(f"{error}\n", status_code=error.status)
        return PlainTextResponse("ready\n")

    return Starlette(routes=[Route("/metrics", metrics), Route("/v2/health/ready", ready)])


def _of_triton(address: str) -> str:
    connection = HTTPConnection(address, timeout=_SECONDS)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode("utf-8", "replace")
    finally:
        connection.close()
