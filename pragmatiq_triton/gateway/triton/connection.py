"""One kept HTTP/1.1 connection to Triton, one request at a time.

httptools (llhttp, the parser of Node) reads the answers; what is here is the little that turns its events into one
awaited answer. aiohttp's client and grpc.aio's take several times the CPU here.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from time import monotonic
from typing import NamedTuple, cast

import httptools

_LEFT_SECONDS = 120.0


class TritonAnswer(NamedTuple):
    """Status and body; ``head_length`` is that of the JSON before binary data, if there is any."""

    status: int
    head_length: int | None
    body: bytes


class LostConnectionError(ConnectionError):
    """The connection ended; ``unanswered`` says that nothing of an answer had come."""

    def __init__(self, unanswered: bool) -> None:
        super().__init__("the connection to Triton ended")
        self.unanswered = unanswered


class Connection(asyncio.Protocol):
    """Made by ``loop.create_connection(lambda: Connection(loop), host, port)``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[TritonAnswer] | None = None
        self._is_asked = False
        self._left: Callable[[Connection], None] | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._head_length: int | None = None
        self._begin()

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing() and not self._is_asked

    async def ask(self, request: Iterable[bytes | memoryview], deadline: float) -> TritonAnswer:
        """Send the parts of a whole request and wait for its answer.

        Raises:
            LostConnectionError: the connection ended before.
            TimeoutError: no answer before ``deadline`` (``time.monotonic()``).
        """
        if self._transport is None or self._transport.is_closing():
            raise LostConnectionError(unanswered=True)
        waiting: asyncio.Future[TritonAnswer] = self._loop.create_future()
        self._waiting = waiting
        # Cheaper than asyncio.timeout, which asks the system for the running loop time and again.
        timer = self._loop.call_later(deadline - monotonic(), _overdue, waiting)
        self._is_asked = True
        self._transport.writelines(request)
        try:
            return await waiting
        finally:
            timer.cancel()
            self._waiting = None

    def leave(self, when_over: Callable[["Connection"], None]) -> None:
        """Nobody waits for the answer under way; ``when_over`` is called once Triton is done with it.

        That is when the answer has come, or the connection has ended, after two minutes at the latest.
        """
        # An answer may have come at the moment in which its caller went.
        if self._transport is None or self._transport.is_closing() or not self._is_asked:
            when_over(self)
            return
        self._left = when_over
        self._overdue = self._loop.call_later(_LEFT_SECONDS, self.close)

    def close(self) -> None:
        """End it, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # What is ended is reset: a port that lingers a minute for each would be one port less.
        if (link := transport.get_extra_info("socket")) is not None:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def data_received(self, data: bytes) -> None:
        self._answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(LostConnectionError(not self._answered))
        self._is_over()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        if name.lower() == b"inference-header-content-length":
            self._head_length = int(value)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        answer = TritonAnswer(self._parser.get_status_code(), self._head_length, b"".join(self._body))
        self._is_asked = False
        self._begin()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)
        self._is_over()

    def _is_over(self) -> None:
        """Tell who left the request under way that it has ended."""
        if self._overdue is not None:
            self._overdue.cancel()
        when_over, self._left, self._overdue = self._left, None, None
        if when_over is not None:
            when_over(self)

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head_length = None
        self._body: list[bytes] = []
        self._answered = False


def _overdue(waiting: "asyncio.Future[TritonAnswer]") -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
