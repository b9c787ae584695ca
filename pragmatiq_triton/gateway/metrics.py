"""One page of metrics: Triton's own, the models', and the gateway's."""

from http.client import HTTPConnection

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

_SECONDS = 5.0


def make_metrics_app(triton: str) -> Starlette:
    """The application on the metrics port; ``triton`` is where Triton has its metrics."""

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(_of_triton, triton), media_type="text/plain; version=0.0.4")

    return Starlette(routes=[Route("/metrics", metrics)])


def _of_triton(address: str) -> str:
    connection = HTTPConnection(address, timeout=_SECONDS)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode("utf-8", "replace")
    finally:
        connection.close()
