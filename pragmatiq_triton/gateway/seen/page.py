"""One page of metrics: Triton's own, the models', and the gateway's."""

from collections.abc import Awaitable, Callable
from http.client import HTTPConnection, HTTPException

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pragmatiq_triton.gateway.door import Door
from pragmatiq_triton.gateway.errors import UnavailableError
from pragmatiq_triton.gateway.seen.histograms import whole_histograms
from pragmatiq_triton.gateway.seen.metrics import GatewayMetrics

_SECONDS = 5.0
_UP = (
    "# HELP pragmatiq_gateway_triton_metrics_up 1: Triton's own metrics are on this page.\n"
    "# TYPE pragmatiq_gateway_triton_metrics_up gauge\npragmatiq_gateway_triton_metrics_up"
)


def make_metrics_app(triton: str, door: Door, own: GatewayMetrics) -> Starlette:
    """The application on the metrics port; ``triton`` is where Triton has its metrics, ``own`` are the gateway's.

    Health is told here as well: whoever asks for it on this port needs neither keys nor certificates.
    """

    async def metrics(request: Request) -> Response:
        page = await run_in_threadpool(_of_triton, triton)
        return PlainTextResponse(whole_histograms(page) + own.page(), media_type="text/plain; version=0.0.4")

    def told(require: Callable[[], None], word: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                require()
            except UnavailableError as error:
                return PlainTextResponse(f"{error}\n", status_code=error.status)
            return PlainTextResponse(f"{word}\n")

        return answer

    health = [("/v2/health/ready", door.require_ready, "ready"), ("/v2/health/live", door.require_alive, "live")]
    return Starlette(
        routes=[Route("/metrics", metrics), *(Route(path, told(require, word)) for path, require, word in health)]
    )


def _of_triton(address: str) -> str:
    """Triton's page; where it does not come the gateway's own has to do, and says so."""
    connection = HTTPConnection(address, timeout=_SECONDS)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode("utf-8", "replace") + f"{_UP} 1\n"
    except (OSError, HTTPException):
        return f"{_UP} 0\n"
    finally:
        connection.close()
