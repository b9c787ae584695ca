"""The two clients: the same calls, blocking and awaitable."""

import math
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, cast, overload

from pragmatiq_client.address import TLS, Protocol, parse_address
from pragmatiq_client.core import Call, Scoring, check_timeout, run_blocking
from pragmatiq_client.errors import ScoringError
from pragmatiq_client.headers import check_headers
from pragmatiq_client.transport import Transport
from pragmatiq_client.wire import Answer, RecordLike


class _Client:
    _blocking: ClassVar[bool]

    def __init__(
        self,
        url: str,
        *,
        protocol: Protocol | None = None,
        model: str = "scoring",
        timeout: float = 5.0,
        retries: int | None = None,
        max_batch_size: int | None = None,
        tls: TLS | None = None,
        headers: Mapping[str, str] | None = None,
        use_proxy: bool = True,
    ) -> None:
        if protocol not in (None, "grpc", "http"):
            raise ValueError(f"protocol: expected 'grpc' or 'http', got {protocol!r}")
        if retries is not None and retries < 0:
            raise ValueError(f"retries: expected at least 0, got {retries}")
        if max_batch_size is not None and max_batch_size < 1:
            raise ValueError(f"max_batch_size: expected at least 1, got {max_batch_size}")
        if math.isinf(check_timeout(timeout)):
            raise ValueError("timeout: expected a finite number of seconds")
        address = parse_address(url, protocol, tls)
        self._transport = _transport(address.protocol, self._blocking)(address, tls, use_proxy)
        self._scoring = Scoring(
            self._transport,
            model=model,
            timeout=timeout,
            retries=retries,
            max_batch_size=max_batch_size,
            headers=check_headers(headers),
        )

    @property
    def url(self) -> str:
        """The server's address, with the scheme that says protocol and encryption."""
        return self._transport.address.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def _transport(protocol: Protocol, blocking: bool) -> type[Transport]:
    """The class, imported when asked for: none loads another's packages."""
    if protocol == "grpc":
        from pragmatiq_client.over_grpc import AioGrpc, Grpc

        return Grpc if blocking else AioGrpc
    if blocking:
        from pragmatiq_client.over_http import Http

        return Http
    from pragmatiq_client.over_aiohttp import AioHttp

    return AioHttp


class ScoringClient(_Client):
    """Scores records over blocking calls; a context manager, safe for threads.

    Args:
        url: ``host:port`` of the server's gRPC or HTTP service, or a URL: ``grpc://``, ``grpcs://``, ``http://`` or
            ``https://``, with the port. The ``s`` means TLS. Behind a gateway an HTTP URL may have a path.
        protocol: ``grpc`` or ``http``; answers and errors are the same. By default what the URL's scheme says, and gRPC
            without one. ``grpc`` with an ``http(s)://`` URL is gRPC on that port.
        model: name of the scoring model.
        timeout: seconds that one call may take in all, retries included; each call can say otherwise.
        retries: how often a request that found no server, or lost it, is sent again, after growing pauses; by default
            as often as the timeout allows.
        max_batch_size: users per request; by default read from the model's config, once, when a call has several. A
            server that does not show its config gets one request per user.
        tls: certificates; without it an encrypted connection trusts the system's authorities.
        headers: sent with every request: HTTP headers, or gRPC metadata; printable ASCII.
        use_proxy: whether the environment's proxies (``http_proxy`` and its like) are used; for this machine
            (``localhost``, ``127.0.0.1``, ``::1``) they never are.

    Raises:
        ValueError: an argument that cannot be meant: a URL without a port, a certificate that cannot be read.
        ImportError: a package that the protocol needs; the message says which.

    Connections are opened at the first call. One client may be shared by any number of threads; a process that forks
    after the first call, as a prefork server's worker does, opens its own.

    Example:
        >>> with ScoringClient("localhost:8001", timeout=0.5) as client:
        ...     answer = client.score_one(record)
        >>> ScoringClient("https://scoring.bank.example:443", tls=TLS(ca="ca.pem"), headers={"authorization": token})
    """

    _blocking = True

    @overload
    def score(
        self,
        records: Iterable[RecordLike],
        timeout: float | None = None,
        *,
        routing_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[Answer]: ...

    @overload
    def score(
        self,
        records: Iterable[RecordLike],
        timeout: float | None = None,
        *,
        routing_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        return_exceptions: bool,
    ) -> list[Answer | ScoringError]: ...

    def score(
        self,
        records: Iterable[RecordLike],
        timeout: float | None = None,
        *,
        routing_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """Score any number of users, in requests of at most the server's batch size.

        Args:
            records: each a :class:`Record`, a mapping, or its JSON as a string or UTF-8 bytes. Values of the first two
                may be dates, ``Decimal``, UUIDs, numpy's and pandas'; see :mod:`pragmatiq_client.values`.
            timeout: seconds for the whole call; by default the client's.
            routing_key: goes out as the header ``x-user-id`` of every request of the call, for a load balancer that
                sends a user to the same server each time. Proxies log headers, so let it be a pseudonym.
            headers: sent beside the client's own, and in place of those of the same name.
            request_id: the call's name in logs: Triton's request id, the header ``x-request-id``, and ``request_id`` of
                answers and errors; by default a random one.
            return_exceptions: give a record's error in the place of its answer, instead of raising the first one. A bad
                record then costs no other's answer.

        Returns:
            One answer per record, in order; with ``return_exceptions`` a :class:`ScoringError` where there is none.

        Raises:
            TypeError: a single record, or a table, instead of a sequence of records.
            ValueError: a header, ``routing_key`` or ``request_id`` that no header can carry.
            InvalidRecordError: one of the records; ``row`` says which. None of the answers is given.
            DeadlineExceededError, ServerUnavailableError, ModelFaultError, ProtocolError: see the classes.

        Example:
            >>> for result in client.score(records, return_exceptions=True):
            ...     if isinstance(result, ScoringError):
            ...         log.warning("not scored: %s", result)
        """
        call = Call(timeout, routing_key, headers, request_id)
        return run_blocking(self._scoring.score(records, call, return_exceptions))

    def score_one(
        self,
        record: RecordLike,
        timeout: float | None = None,
        *,
        routing_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Score one user; arguments and errors as for :meth:`score`."""
        return self.score([record], timeout, routing_key=routing_key, headers=headers, request_id=request_id)[0]

    def is_ready(self, timeout: float | None = None) -> bool:
        """Whether the server answers and all its models are loaded; one attempt, False if it cannot be reached."""
        return run_blocking(self._scoring.server_ready(timeout))

    def model_ready(self, timeout: float | None = None) -> bool:
        """Whether the scoring model is loaded. A crashed model process still counts as ready: only a score tells."""
        return run_blocking(self._scoring.model_ready(timeout))

    def close(self) -> None:
        """Close the connections, each when its last call has ended; a later call opens new ones."""
        run_blocking(self._transport.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncScoringClient(_Client):
    """:class:`ScoringClient` for asyncio: same arguments, calls and errors.

    Any number of tasks may call it at once. Each event loop has connections of its own; ``close`` closes those of the
    loop that it runs in.

    Example:
        >>> async with AsyncScoringClient("http://localhost:8000") as client:
        ...     answers = await asyncio.gather(*(client.score_one(record) for record in records))
    """

    _blocking = False

    @overload
    async def score(
        self,
        records: Iterable[RecordLike],
        timeout: float | None = None,
        *,
        routing_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[Answer]: ...

    @overload
    async def score(
        self,
        records: Iterable[RecordLike],
        timeout: float | None = None,
        *,
        routing_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        return_exceptions: bool,
    ) -> list[Answer | ScoringError]: ...

    async def score(
        self,
        records: Iterable[RecordLike],
        timeout: float | None = None,
        *,
        routing_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """As :meth:`ScoringClient.score`."""
        call = Call(timeout, routing_key, headers, request_id)
        return await self._scoring.score(records, call, return_exceptions)

    async def score_one(
        self,
        record: RecordLike,
        timeout: float | None = None,
        *,
        routing_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """As :meth:`ScoringClient.score_one`."""
        options: dict[str, Any] = {"routing_key": routing_key, "headers": headers, "request_id": request_id}
        return cast(Answer, (await self.score([record], timeout, **options))[0])

    async def is_ready(self, timeout: float | None = None) -> bool:
        """As :meth:`ScoringClient.is_ready`."""
        return await self._scoring.server_ready(timeout)

    async def model_ready(self, timeout: float | None = None) -> bool:
        """As :meth:`ScoringClient.model_ready`."""
        return await self._scoring.model_ready(timeout)

    async def close(self) -> None:
        """As :meth:`ScoringClient.close`."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
