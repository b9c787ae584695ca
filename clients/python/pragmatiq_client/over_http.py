"""HTTP with blocking sockets: the standard library's, pooled, safe for threads and forks."""

import base64
import http.client
import io
import os
import re
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pragmatiq_client.address import TLS, Address, Proxy
from pragmatiq_client.causes import tls_cause
from pragmatiq_client.errors import DeadlineExceededError, ProtocolError, ScoringError
from pragmatiq_client.kserve import (
    HttpAnswer,
    config_path,
    infer_body,
    infer_path,
    read_config,
    read_infer,
    read_ready,
    ready_path,
)
from pragmatiq_client.transport import Blocking, Transport
from pragmatiq_client.wire import Request, Tensors

NOT_HTTP = "a port that does not speak HTTP, as Triton's gRPC port (HTTP's is usually 8000), or one that expects TLS"
_CUT_OFF = re.compile(r"RemoteDisconnected|reset by peer|Disconnected|Broken pipe|EOF|\[None\]", re.IGNORECASE)
_CHUNK = 1 << 20


class HttpTransport(Transport):
    """What both HTTP transports make of a connection that failed."""

    def __init__(self, address: Address, tls: TLS | None, use_proxy: bool) -> None:
        super().__init__(address, tls, use_proxy)
        self.context = self.tls.context() if self.tls is not None else None

    def failed(self, error: Exception) -> ScoringError:
        """The error for what a socket raised."""
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if (cause := tls_cause(text)) and not self.proxy:
            return ProtocolError(text, likely_cause=cause)
        if isinstance(error, ConnectionRefusedError) or "Connect call failed" in text or "refused" in text:
            return self.unavailable(text, "no server listens there (yet)")
        if isinstance(error, socket.gaierror) or "Name or service not known" in text:
            return self.unavailable(text, f"the name {self.address.host!r} is not known here")
        return self.unavailable(text, self.cut_off_cause if _CUT_OFF.search(text) else None)


class Http(HttpTransport, Blocking):
    """As many connections as there are threads in a call; each is used by one call at a time."""

    def __init__(self, address: Address, tls: TLS | None, use_proxy: bool) -> None:
        super().__init__(address, tls, use_proxy)
        self._forget()

    async def infer(self, request: Request, timeout: float) -> Tensors:
        body, headers = infer_body(request)
        answer = self._send("POST", infer_path(request.model), {**request.headers, **headers}, body, timeout)
        return read_infer(answer, request)

    async def is_ready(self, model: str | None, headers: Mapping[str, str], timeout: float) -> bool:
        return read_ready(self._send("GET", ready_path(model), headers, None, timeout))

    async def config(self, model: str, headers: Mapping[str, str], timeout: float) -> dict[str, Any]:
        return read_config(self._send("GET", config_path(model), headers, None, timeout))

    async def close(self) -> None:
        self._drop_idle()

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> HttpAnswer:
        end = time.monotonic() + timeout
        while True:
            connection, used = self._take(end)
            try:
                answer = connection.exchange(method, self.address.path + path, headers, body, end)
            except BaseException as error:
                connection.abandon()
                self._drop_idle()  # the other connections lead to the same server, or the same dark place
                if used and isinstance(error, ConnectionError) and time.monotonic() < end:
                    continue  # the server had closed it while it was idle
                if isinstance(error, TimeoutError):
                    raise DeadlineExceededError(f"no answer within {timeout:g} s") from error
                if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
                    text = f"expected an HTTP answer, got {error.args[0][:40]!r}"
                    raise ProtocolError(text, likely_cause=NOT_HTTP) from error
                if isinstance(error, OSError | http.client.HTTPException):
                    raise self.failed(error) from error
                raise
            self.answered = True
            if connection.reusable:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.abandon()
            return answer

    def _take(self, end: float) -> tuple["_Connection", bool]:
        """A connection, and whether it has been used before."""
        if self._pid != os.getpid():
            self._forget()  # the parent goes on with those that are open
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return _Connection(self.address, self.context, self.tls, self.proxy), False
            if connection.is_quiet():
                return connection, True
            connection.abandon()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._pid = os.getpid()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.abandon()


class _Connection(http.client.HTTPConnection):
    """One connection, whose every step ends at the same moment."""

    def __init__(self, address: Address, context: ssl.SSLContext | None, tls: TLS | None, proxy: Proxy | None) -> None:
        self._context = context
        self._server_name = tls.server_name or address.host if tls is not None else None
        self._prefix = ""
        self._proxy_headers: dict[str, str] = {}
        self._timed: _TimedSocket | None = None
        self._end = 0.0
        if proxy is None:
            super().__init__(address.host, address.port)
        else:
            parts = urlsplit(proxy.url if "://" in proxy.url else f"http://{proxy.url}")
            super().__init__(parts.hostname or "", parts.port or 80)
            if parts.username is not None:
                pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
                self._proxy_headers = {"proxy-authorization": f"Basic {base64.b64encode(pair).decode()}"}
            if context is not None:
                self.set_tunnel(address.host, address.port, self._proxy_headers)
            else:
                self._prefix = f"http://{address.netloc}"
        self.reusable = False

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, end: float
    ) -> HttpAnswer:
        """Send a request and read its whole answer; TimeoutError at ``end``, on the monotonic clock."""
        self._end = end
        if self._timed is not None:
            self._timed.end = end
        extra = self._proxy_headers if self._prefix else {}
        self.request(method, self._prefix + path, body, {**headers, **extra})
        response = self.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        content = response.read()
        self.reusable = not response.will_close
        return HttpAnswer(response.status, found, content)

    def connect(self) -> None:
        """Open the connection within the time of the exchange."""
        self.timeout = max(self._end - time.monotonic(), 1e-3)
        super().connect()
        if self._context is not None:
            self.sock.settimeout(max(self._end - time.monotonic(), 1e-3))
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self._server_name)
        self._timed = _TimedSocket(self.sock, self._end)
        self.sock = self._timed  # it does what http.client asks of a socket

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer; what comes then is the end."""
        if self._timed is None:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._timed.real, selectors.EVENT_READ)
            return not selector.select(0)

    def abandon(self) -> None:
        """Close the socket, whatever is under way on it."""
        timed, self._timed = self._timed, None
        if timed is not None:
            timed.real.close()
        elif self.sock is not None:
            self.sock.close()
        self.close()


class _TimedSocket:
    """A socket whose reads and writes all end at one moment, however the other side spreads its bytes."""

    def __init__(self, real: socket.socket, end: float) -> None:
        self.real = real
        self.end = end

    def _left(self) -> None:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        self.real.settimeout(left)

    def sendall(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            self._left()
            view = view[self.real.send(view[:_CHUNK]) :]

    def recv_into(self, buffer: Any) -> int:
        self._left()
        return self.real.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self), _CHUNK >> 4)

    def close(self) -> None:
        """Left to the connection: http.client closes a socket before it has read the answer."""


class _Reader(io.RawIOBase):
    def __init__(self, timed: _TimedSocket) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.recv_into(buffer)
