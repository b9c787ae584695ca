"""One HTTP/1.1 connection of a caller: uvicorn's, with bounds on what a caller may send and on how long that takes.

uvicorn bounds neither headers nor their time, nor how many pieces a body comes in. Here every state of a connection has
a moment by which it has to be over; :func:`close_overdue` looks once a second, which costs nothing per request.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from pragmatiq_triton.gateway.call import Call, request_id
from pragmatiq_triton.gateway.errors import (
    MalformedError,
    RequestError,
    SlowCallerError,
    TooLargeError,
    UnavailableError,
    WrongMethodError,
)
from pragmatiq_triton.gateway.limits import Limits
from pragmatiq_triton.gateway.over_http import kserve, rest
from pragmatiq_triton.gateway.tls import names_of

UNREAD = "unread"
"""The route of calls that ended before their request was whole."""
_MOST_HEADERS = 100
_OF_UPGRADE = (b"upgrade", b"connection", b"http2-settings")
_FREE_PIECES = 1024
_SMALLEST_PIECE = 64
"""A body may come in 1,024 pieces of any size; if it comes in more, they hold 64 bytes on average."""


class _OneWrite:
    """A transport on which an answer's head waits for its body: one system call, and one packet, in two's place."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if not self._head and data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and data[9] != ord("1"):
            self._head = data
            return
        self._transport.write(self._head + data if self._head else data)
        self._head = b""

    def flush(self) -> None:
        """Send a head that no body came after."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """A connection within ``limits``; ``refused`` is told of a call that ended before its request was whole."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
        refused: Callable[[Call], None],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._refused = refused
        self.when_gone: Callable[[], None] | None = None
        """What is to be done if the caller hangs up."""
        self.certificate_names: tuple[str, ...] = ()
        """Those of the client certificate, if there is one."""
        self.url = b""
        self.headers = []
        self._wrong: RequestError | None = None
        self._due = math.inf
        self._in_headers = False
        self._header_bytes = 0
        self._pieces = 0
        self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._one_write = _OneWrite(transport)
        super().connection_made(cast(asyncio.Transport, self._one_write))
        if (tls := transport.get_extra_info("ssl_object")) is not None:
            self.certificate_names = names_of(tls.getpeercert())
        self._due = self.loop.time() + self._limits.idle_seconds
        if len(self.connections) > self._limits.max_connections:
            self._end(UnavailableError("too many open connections"))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.when_gone is not None:
            self.when_gone()

    def data_received(self, data: bytes) -> None:
        # A caller may send any number of heads that ask for an upgrade, one behind the other.
        while data and not self.transport.is_closing():
            data = self._read(data)

    def _read(self, data: bytes) -> bytes:
        """Parse ``data``; returns what has to be parsed anew."""
        if self._in_headers:
            self._header_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._end(self._wrong or MalformedError("expected a request of HTTP/1.1"))
            return b""
        except httptools.HttpParserUpgrade as upgrade:
            return self._as_http1(data[upgrade.args[0] :])
        if self._in_headers and self._header_bytes > self._limits.max_header_bytes:
            self._end(self._headers_too_large())
        return b""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"connection": self}  # type: ignore[dict-item]
        self._in_headers = True
        self._header_bytes = self._pieces = self._body_bytes = 0
        self._due = self.loop.time() + self._limits.header_seconds

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > _MOST_HEADERS:
            self._stop_parsing(TooLargeError(f"expected at most {_MOST_HEADERS} headers"))

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._due = self.loop.time() + self._limits.body_seconds
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.max_header_bytes:
            self._stop_parsing(self._headers_too_large())
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._pieces += 1
        self._body_bytes += len(body)
        if self._pieces > _FREE_PIECES and self._body_bytes < _SMALLEST_PIECE * self._pieces:
            if self._pieces == _FREE_PIECES + 1 or not self.transport.is_closing():
                self._end(MalformedError("the body comes in pieces that are too small"))
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._due = math.inf
            super().on_message_complete()

    def _stop_parsing(self, error: RequestError) -> None:
        """End the connection from within the parser, which knows exceptions alone."""
        self._wrong = error
        raise ValueError(str(error))

    def _as_http1(self, rest: bytes) -> bytes:
        """The request as if it had not asked for another protocol, as Java's client does for HTTP/2, to be read anew.

        The parser takes what follows such a head (``rest``) for that protocol. A server that does not speak it is to
        answer as ever (RFC 9110, section 7.8).
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._end(WrongMethodError("no tunnels lead through here"))
            return b""
        kept = [(name, value) for name, value in self.headers if name not in _OF_UPGRADE]
        # The caller's wish for the connection's end is all that is left of that header.
        if any(b"close" in value.lower() for name, value in self.headers if name == b"connection"):
            kept.append((b"connection", b"close"))
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in kept]
        self.parser = httptools.HttpRequestParser(self)
        return b"\r\n".join(lines) + b"\r\n\r\n" + rest

    def on_response_complete(self) -> None:
        self._one_write.flush()
        self._due = self.loop.time() + self._limits.idle_seconds
        super().on_response_complete()

    def close_if_overdue(self, now: float) -> None:
        """End the connection if its caller took too long."""
        if now < self._due or self.transport.is_closing():
            return
        if self._in_headers or (self.cycle is not None and not self.cycle.response_started):
            self._end(SlowCallerError())
        else:
            self.transport.close()

    def _end(self, error: RequestError) -> None:
        """Answer and close, unless an answer has begun already."""
        given = dict(self.headers).get(b"x-request-id", b"").decode("latin-1")
        call = Call("http", UNREAD, request_id(given))
        call.failed(error)
        call.received_bytes = self._body_bytes
        if self.client is not None:
            call.address = self.client[0]
        self._due = math.inf
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = (kserve if self.url.startswith(b"/v2") else rest).error_body(error, call)
            call.sent_bytes = len(body)
            self.transport.write(
                STATUS_LINE[error.status]
                + b"content-type: application/json\r\nconnection: close\r\nx-request-id: %b\r\n"
                b"content-length: %d\r\n\r\n" % (call.request_id.encode(), len(body)) + body
            )
        self.transport.close()
        self._refused(call)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn finds wrong."""
        self._end(MalformedError(msg))

    def _headers_too_large(self) -> RequestError:
        return TooLargeError(f"request line and headers are larger than {self._limits.max_header_bytes:,} bytes")


def close_overdue(connections: Iterable[Any], clock: Callable[[], float]) -> None:
    """End the connections whose callers took too long."""
    now = clock()
    for connection in list(connections):
        connection.close_if_overdue(now)
