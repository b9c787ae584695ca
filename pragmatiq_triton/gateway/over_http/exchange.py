"""A request and its answer as ASGI has them: headers, a bounded body, one answer."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from pragmatiq_triton.gateway.errors import MalformedError, TooLargeError, UnsupportedError

T = TypeVar("T")
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = dict[bytes, bytes]

_LARGE = 1024 * 1024


class DisconnectedError(Exception):
    """The caller hung up before the request was whole."""


def headers_of(scope: Scope) -> Headers:
    """The request's headers by lower-case name; of several with one name the last."""
    return dict(scope["headers"])


async def read_body(headers: Headers, receive: Receive, most: int) -> bytes:
    """The whole body, decompressed; neither what comes nor what it becomes is larger than ``most`` bytes.

    Raises:
        TooLargeError: more than that.
        UnsupportedError: another compression than gzip and deflate.
        MalformedError: what is no such compression.
        DisconnectedError: the caller went.
    """
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise _too_large(most)
        pieces.append(piece)
        if not message.get("more_body"):
            break
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    coding = headers.get(b"content-encoding", b"").strip().lower()
    if not coding or coding == b"identity":
        return body
    if coding not in (b"gzip", b"deflate"):
        raise UnsupportedError("content-encoding: expected gzip, deflate or identity")
    return await asyncio.to_thread(_inflate, body, most) if len(body) > _LARGE // 16 else _inflate(body, most)


def _inflate(body: bytes, most: int) -> bytes:
    """What a gzip or zlib stream holds; the bound holds while it is decompressed."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        content = stream.decompress(body, most + 1)
    except zlib.error:
        raise MalformedError("the body is not what content-encoding says") from None
    if len(content) > most:
        raise _too_large(most)
    if not stream.eof or stream.unused_data:
        raise MalformedError("the body is not one whole compressed stream")
    return content


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {most:,} bytes")


async def unless_gone(scope: Scope, work: Awaitable[T]) -> T:
    """What ``work`` gives; it is cancelled if the caller hangs up first.

    ASGI tells of that by one more message, and to wait for it beside takes two tasks, 35 µs a request; the connection
    itself knows it for nothing.

    Raises:
        DisconnectedError: the caller went.
    """
    connection = scope["extensions"]["connection"]
    task = asyncio.current_task()
    gone = False

    def leave() -> None:
        nonlocal gone
        gone = True
        if task is not None:
            task.cancel()

    connection.flow.resume_reading()  # a large body may have stopped it, and then the end is not seen either
    connection.when_gone = leave
    try:
        return await work
    except asyncio.CancelledError:
        if gone:
            raise DisconnectedError from None
        raise
    finally:
        connection.when_gone = None


async def send_answer(
    send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]], content_type: bytes
) -> None:
    """Send one whole answer."""
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
