"""The two clients: the same calls, blocking and awaitable."""

from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Literal, Self

from pragmatiq_client.core import Scoring, run_blocking
from pragmatiq_client.transports import AioGrpc, AioHttp, Grpc, Http, Transport
from pragmatiq_client.wire import Answer, Record


class _Client:
    _transports: ClassVar[dict[str, type[Transport]]]

    def __init__(
        self,
        url: str,
        *,
        protocol: Literal["grpc", "http"] = "grpc",
        model: str = "scoring",
        timeout: float = 5.0,
        retries: int = 2,
        max_batch_size: int | None = None,
    ) -> None:
        if "://" in url:
            raise ValueError(f"url: expected host:port without a scheme, got {url!r}")
        if protocol not in self._transports:
            raise ValueError(f"protocol: expected one of {list(self._transports)}, got {protocol!r}")
        if max_batch_size is not None and max_batch_size < 1:
            raise ValueError(f"max_batch_size: expected at least 1, got {max_batch_size}")
        self._transport = self._transports[protocol](url)
        self._scoring = Scoring(
            self._transport, model=model, timeout=timeout, retries=retries, max_batch_size=max_batch_size
        )


class ScoringClient(_Client):
    """Scores records over blocking calls; a context manager.

    Args:
        url: ``host:port`` of the server's gRPC or HTTP service.
        protocol: ``grpc`` or ``http``; answers and errors are the same.
        model: name of the scoring model.
        timeout: seconds that one call may take in all, retries included; each call can say otherwise.
        retries: how often a request that found no server, or lost it, is sent again, after growing pauses.
        max_batch_size: users per request; by default read from the model's config, once, when a call has several. A
            server that does not show its config gets one request per user.

    Connections are opened at the first call. A client belongs to one thread.
    """

    _transports: ClassVar = {"grpc": Grpc, "http": Http}

    def score(
        self, records: Sequence[Record], timeout: float | None = None, *, routing_key: str | None = None
    ) -> list[Answer]:
        """Score any number of users, in requests of at most the server's batch size; one answer per record.

        A record is a mapping, or its JSON as a string or UTF-8 bytes. ``routing_key`` goes out as the header
        ``x-user-id`` of every request of the call, for a load balancer that sends a user to the same server each time.
        It has to be printable ASCII; proxies log headers, so let it be a pseudonym.

        Raises:
            ValueError: a ``routing_key`` that no header can carry.
            InvalidRecordError: one of the records; ``row`` says which. None of the answers is given.
            DeadlineExceededError, ServerUnavailableError, ModelFaultError, ProtocolError: see the classes.
        """
        return run_blocking(self._scoring.score(records, timeout, routing_key))

    def score_one(self, record: Record, timeout: float | None = None, *, routing_key: str | None = None) -> Answer:
        """Score one user."""
        return self.score([record], timeout, routing_key=routing_key)[0]

    def is_ready(self, timeout: float | None = None) -> bool:
        """Whether the server answers and all its models are loaded; one attempt, False if it cannot be reached."""
        return run_blocking(self._scoring.server_ready(timeout))

    def model_ready(self, timeout: float | None = None) -> bool:
        """Whether the scoring model is loaded. A crashed model process still counts as ready: only a score tells."""
        return run_blocking(self._scoring.model_ready(timeout))

    def close(self) -> None:
        """Close the connections."""
        run_blocking(self._transport.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncScoringClient(_Client):
    """:class:`ScoringClient` for asyncio: same arguments, calls and errors.

    A client belongs to the event loop of its first call; any number of that loop's tasks may call it at once.
    """

    _transports: ClassVar = {"grpc": AioGrpc, "http": AioHttp}

    async def score(
        self, records: Sequence[Record], timeout: float | None = None, *, routing_key: str | None = None
    ) -> list[Answer]:
        """As :meth:`ScoringClient.score`."""
        return await self._scoring.score(records, timeout, routing_key)

    async def score_one(
        self, record: Record, timeout: float | None = None, *, routing_key: str | None = None
    ) -> Answer:
        """As :meth:`ScoringClient.score_one`."""
        return (await self.score([record], timeout, routing_key=routing_key))[0]

    async def is_ready(self, timeout: float | None = None) -> bool:
        """As :meth:`ScoringClient.is_ready`."""
        return await self._scoring.server_ready(timeout)

    async def model_ready(self, timeout: float | None = None) -> bool:
        """As :meth:`ScoringClient.model_ready`."""
        return await self._scoring.model_ready(timeout)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
