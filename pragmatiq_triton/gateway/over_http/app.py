"""The routes of the HTTP service."""

from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any

import msgspec
from starlette.routing import Route, Router

from pragmatiq_triton.api import OPENAPI, RECORD_SCHEMA, read_document
from pragmatiq_triton.gateway import facts
from pragmatiq_triton.gateway.call import Call, request_id
from pragmatiq_triton.gateway.door import Door
from pragmatiq_triton.gateway.errors import (
    ModelError,
    RequestError,
    UnknownRouteError,
    WrongMethodError,
)
from pragmatiq_triton.gateway.over_http import kserve, rest
from pragmatiq_triton.gateway.over_http.exchange import (
    DisconnectedError,
    Headers,
    Receive,
    Scope,
    Send,
    headers_of,
    read_body,
    send_answer,
    unless_gone,
)
from pragmatiq_triton.probe import SERVER

_JSON = b"application/json"
_OCTETS = b"application/octet-stream"
_CLOSE = (b"connection", b"close")
_encode = msgspec.json.Encoder().encode

Body = tuple[bytes, bytes, list[tuple[bytes, bytes]]]
"""What a handler answers: a body, its content type, further headers."""

Handler = Callable[[Door, Call, Headers, Scope, Receive], Awaitable[Body]]
ErrorBody = Callable[[RequestError, Call], bytes]


class Endpoint:
    """An ASGI application for one route: who calls, the handler, its answer or error, and who looks on."""

    def __init__(
        self, door: Door, route: str, method: str, handler: Handler, error_body: ErrorBody, *, asks_who: bool = True
    ) -> None:
        self._asks_who = asks_who
        self._door = door
        self._route = route
        self._methods = {"GET": ("GET", "HEAD"), "POST": ("POST",)}.get(method)
        self._handler = handler
        self._error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        given = headers.get(b"x-request-id")
        call = Call("http", self._route, request_id(given.decode("latin-1") if given else None))
        if (client := scope.get("client")) is not None:
            call.address = client[0]
        if (parent := headers.get(b"traceparent")) is not None:
            call.traceparent = parent.decode("latin-1")
        status = 200
        try:
            if self._methods and scope["method"] not in self._methods:
                raise WrongMethodError(f"expected {self._methods[0]}")
            if self._asks_who:
                self._door.admit(call, _Names(headers), scope["extensions"]["connection"].certificate_names)
            body, content_type, more = await self._handler(self._door, call, headers, scope, receive)
        except DisconnectedError:
            call.status, call.code = 499, "gone"
            self._door.ended(call)
            return
        except RequestError as error:
            status, (body, content_type, more) = error.status, self._refusal(error, call)
        except Exception:
            fault = ModelError(f"the request failed here; its id is {call.request_id}")
            status, (body, content_type, more) = fault.status, self._refusal(fault, call)
            self._door.broke(call)
        call.sent_bytes = len(body)
        if self._door.scoring.is_stopping and _CLOSE not in more:
            more = [*more, _CLOSE]
        await send_answer(send, status, body, [*self._identity(call), *more], content_type)
        self._door.ended(call)

    def _refusal(self, error: RequestError, call: Call) -> Body:
        call.failed(error)
        more: list[tuple[bytes, bytes]] = []
        if error.retry_after is not None:
            more.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
        if error.status in (408, 413, 401):
            more.append(_CLOSE)  # what is left of the body is not read
        if error.status == 401:
            more.append((b"www-authenticate", b"Bearer"))
        return self._error_body(error, call), _JSON, more

    def _identity(self, call: Call) -> list[tuple[bytes, bytes]]:
        pairs = (("x-request-id", call.request_id), *self._door.identity_for(call))
        return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in pairs]


class _Names(dict[str, str]):
    """Headers as text, decoded where they are asked for."""

    def __init__(self, headers: Headers) -> None:
        super().__init__()
        self._headers = headers

    def get(self, name: str, default: Any = None) -> Any:
        found = self._headers.get(name.encode("latin-1"))
        return default if found is None else found.decode("latin-1")


async def _infer(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    parameters = scope["path_params"]
    ensemble = door.ensemble(parameters["model"], parameters.get("version", ""))
    body = await read_body(headers, receive, door.limits.max_body_bytes)
    call.received_bytes = len(body)
    inference = kserve.read_inference(body, headers.get(kserve.HEADER_LENGTH))
    if inference.id and b"x-request-id" not in headers:
        call.request_id = request_id(inference.id)
    timeout = rest.timeout_of(headers)
    if inference.timeout is not None:
        timeout = min(inference.timeout / 1e6, timeout or inference.timeout / 1e6)
    scoring = door.score(call, ensemble, inference.documents, inference.outputs, timeout)
    answer = await unless_gone(scope, scoring)
    content, head_length = kserve.write_answer(answer, inference, door.identity.parameters)
    if head_length is None:
        return content, _JSON, []
    return content, _OCTETS, [(kserve.HEADER_LENGTH, b"%d" % head_length)]


async def _score(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    body = await read_body(headers, receive, door.limits.max_body_bytes)
    call.received_bytes = len(body)
    return await unless_gone(scope, rest.score(door, call, body, rest.timeout_of(headers))), _JSON, []


async def _model(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    return _encode(rest.model(door)), _JSON, []


def _document(name: str) -> Handler:
    content = read_document(name)

    async def document(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
        return content, _JSON, []

    return document


async def _server(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    found = {"name": SERVER, "version": rest.version(), "extensions": facts.EXTENSIONS}
    return _encode(found), _JSON, []


async def _metadata(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    return _encode(facts.metadata(_ensemble(door, scope), door.identity)), _JSON, []


async def _config(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    return _encode(facts.config(_ensemble(door, scope), door.identity)), _JSON, []


async def _statistics(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    return _encode({"model_stats": [door.statistics.described(_ensemble(door, scope).name)]}), _JSON, []


async def _live(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    door.require_alive()
    return b"", _JSON, []


async def _unknown(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    raise UnknownRouteError("no such path")


async def _ready(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    door.require_ready()
    return b"", _JSON, []


async def _model_ready(door: Door, call: Call, headers: Headers, scope: Scope, receive: Receive) -> Body:
    door.require_ready(_ensemble(door, scope).name)
    return b"", _JSON, []


def _ensemble(door: Door, scope: Scope) -> Any:
    parameters = scope["path_params"]
    return door.ensemble(parameters["model"], parameters.get("version", ""))


def make_app(door: Door) -> Router:
    """The ASGI application."""

    def route(path: str, method: str, handler: Handler, error_body: ErrorBody = kserve.error_body) -> Route:
        asks_who = not path.startswith("/v2/health/")  # whoever restarts a server need not be a caller
        return Route(path, Endpoint(door, path, method, handler, error_body, asks_who=asks_who))

    routes = [
        route("/v1/score", "POST", _score, rest.error_body),
        route("/v1/model", "GET", _model, rest.error_body),
        route("/openapi.json", "GET", _document(OPENAPI), rest.error_body),
        route("/v1/record.schema.json", "GET", _document(RECORD_SCHEMA), rest.error_body),
        route("/v2/health/live", "GET", _live),
    ]
    for versions in ("", "/versions/{version}"):
        model = "/v2/models/{model}" + versions
        routes += [
            route(f"{model}/infer", "POST", _infer),
            route(f"{model}/ready", "GET", _model_ready),
            route(f"{model}/config", "GET", _config),
            route(f"{model}/stats", "GET", _statistics),
            route(model, "GET", _metadata),
        ]
    routes += [route("/v2/health/ready", "GET", _ready), route("/v2", "GET", _server)]

    # A Router alone: Starlette's middlewares would answer errors that an Endpoint does not let through.
    return Router(routes, redirect_slashes=False, default=Endpoint(door, "", "", _unknown, kserve.error_body))
