"""What a call does, written once: split, send, retry, read.

The coroutines here run on any :class:`Transport`. A blocking one never suspends, so the sync client runs them to
their end in one step (:func:`run_blocking`) and no code exists twice.
"""

import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pragmatiq_client.errors import (
    DeadlineExceededError,
    InvalidRecordError,
    ModelFaultError,
    ProtocolError,
    ScoringError,
    ServerUnavailableError,
)
from pragmatiq_client.headers import call_headers
from pragmatiq_client.retry import SHORTEST_PAUSE, Deadline, fitted, pauses
from pragmatiq_client.transport import Transport
from pragmatiq_client.wire import (
    Answer,
    RecordLike,
    Request,
    batches,
    check_records,
    encode_record,
    read_answers,
    read_max_batch_size,
)

T = TypeVar("T")

_BATCH_SIZE = re.compile(r"batch-size must be <= (\d+)")


@dataclass(frozen=True, slots=True)
class Call:
    """What one call of the user has beside its records."""

    timeout: float | None = None
    routing_key: str | None = None
    headers: Mapping[str, str] | None = None
    request_id: str | None = None


@dataclass(slots=True)
class _Going:
    """A call under way: its requests, and what came of each row so far."""

    deadline: Deadline
    headers: dict[str, str]
    request_id: str
    isolate: bool
    results: dict[int, Answer | ScoringError] = field(default_factory=dict)


class Scoring:
    """The calls of both clients; :class:`pragmatiq_client.ScoringClient` tells what the arguments mean."""

    def __init__(
        self,
        transport: Transport,
        *,
        model: str,
        timeout: float,
        retries: int | None,
        max_batch_size: int | None,
        headers: Mapping[str, str],
    ) -> None:
        self.transport = transport
        self._model = model
        self._timeout = timeout
        self._retries = retries
        self._max_batch_size = max_batch_size
        self._batch_size_is_given = max_batch_size is not None
        self._headers = headers

    async def score(
        self, records: Iterable[RecordLike], call: Call, return_exceptions: bool
    ) -> list[Answer | ScoringError]:
        rows = check_records(records)
        headers, request_id = call_headers(self._headers, call.headers, call.routing_key, call.request_id)
        going = _Going(self._deadline(call.timeout), headers, request_id, return_exceptions)
        documents: dict[int, bytes] = {}
        for row, record in enumerate(rows):
            try:
                documents[row] = encode_record(record, row)
            except InvalidRecordError as error:
                self._record_failure(going, [row], error)
        try:
            step = await self._batch_size(len(documents), going)
        except ScoringError as error:
            self._record_failure(going, list(documents), error)
            documents = {}
        queue = batches(documents, step) if documents else []
        while queue:
            batch = queue.pop(0)
            try:
                answers = await self._score_batch([documents[row] for row in batch], going)
                going.results.update(zip(batch, answers, strict=True))
            except ScoringError as error:
                queue = self._after_failure(going, batch, queue, error)
        return [going.results[row] for row in range(len(rows))]

    async def server_ready(self, timeout: float | None) -> bool:
        return await self._is_ready(None, timeout)

    async def model_ready(self, timeout: float | None) -> bool:
        return await self._is_ready(self._model, timeout)

    async def _is_ready(self, model: str | None, timeout: float | None) -> bool:
        headers, request_id = call_headers(self._headers, None, None, None)
        try:
            return await self.transport.is_ready(model, headers, self._deadline(timeout).remaining())
        except (ServerUnavailableError, DeadlineExceededError):
            return False
        except ScoringError as error:
            raise error.at(self.transport.address.url, request_id) from error.__cause__

    def _after_failure(
        self, going: _Going, batch: list[int], queue: list[list[int]], error: ScoringError
    ) -> list[list[int]]:
        """What is still to be sent; the rows that are lost have their error then."""
        if isinstance(error, InvalidRecordError) and error.row is not None and error.row < len(batch):
            bad = batch[error.row]
            self._record_failure(going, [bad], error.for_row(bad))
            rest = [row for row in batch if row != bad]
            return [rest, *queue] if rest else queue
        smaller = _BATCH_SIZE.search(error.text) if isinstance(error, InvalidRecordError) else None
        if smaller and not self._batch_size_is_given and 1 <= int(smaller.group(1)) < len(batch):
            # Another server than the one whose config was read.
            self._max_batch_size = step = int(smaller.group(1))
            rows = [row for rows in (batch, *queue) for row in rows]
            return [rows[start : start + step] for start in range(0, len(rows), step)]
        if isinstance(error, InvalidRecordError | ModelFaultError):
            if going.isolate and len(batch) > 1:
                half = len(batch) // 2
                return [batch[:half], batch[half:], *queue]
            self._record_failure(going, batch, error)
            return queue
        # Whatever else it is holds for the requests to come as well.
        self._record_failure(going, [row for rows in (batch, *queue) for row in rows], error)
        return []

    def _record_failure(self, going: _Going, rows: list[int], error: ScoringError) -> None:
        # A record that was never sent has no server.
        url = None if getattr(error, "stage", None) == "client" else self.transport.address.url
        error = self._with_proxy(error).at(url, going.request_id)
        if not going.isolate:
            raise error
        going.results.update(dict.fromkeys(rows, error))

    def _with_proxy(self, error: ScoringError) -> ScoringError:
        """The error with the proxy that the call went through, where it may be the cause."""
        proxy = self.transport.proxy
        if proxy is not None and not isinstance(error, InvalidRecordError | ModelFaultError):
            known = error.likely_cause
            if known is None or proxy.cause not in known:
                error.likely_cause = proxy.cause if known is None else f"{known}; {proxy.cause}"
        return error

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else check_timeout(timeout))

    async def _batch_size(self, n_users: int, going: _Going) -> int:
        if self._max_batch_size is None and n_users > 1:
            self._max_batch_size = await self._find_max_batch_size(going)
        return self._max_batch_size or 1

    async def _find_max_batch_size(self, going: _Going) -> int:
        """The model's; 1, which every model takes, where its config is not for us to read."""
        try:
            config = await self._with_retries(
                lambda seconds: self.transport.config(self._model, going.headers, seconds), going.deadline
            )
        except ProtocolError:
            return 1
        return read_max_batch_size(config)

    async def _score_batch(self, documents: list[bytes], going: _Going) -> list[Answer]:
        request = Request(self._model, documents, going.headers, going.request_id)
        tensors = await self._with_retries(lambda seconds: self.transport.infer(request, seconds), going.deadline)
        return read_answers(tensors, len(documents), going.request_id)

    async def _with_retries(self, send: Callable[[float], Awaitable[T]], deadline: Deadline) -> T:
        """Scoring changes nothing on the server, so whatever did not reach it, or got lost, may be sent again."""
        attempts = 0
        unavailable: ServerUnavailableError | None = None
        last = False
        try:
            for pause in pauses(self._retries):
                try:
                    attempts += 1
                    return await send(deadline.remaining())
                except ServerUnavailableError as error:
                    unavailable = error
                    left = deadline.left()
                    if last or left < SHORTEST_PAUSE:
                        raise
                pause, last = fitted(pause, left)
                await self.transport.sleep(pause)
            return await send(deadline.remaining())
        except DeadlineExceededError as error:
            if unavailable is not None:
                asked = f"asked {attempts} times in {deadline.timeout:g} s"
                unavailable.text += f" ({asked}, the last time without an answer)"
                raise unavailable from error
            if deadline.left() > SHORTEST_PAUSE:
                error.likely_cause = "the server, or a proxy on the way, gave up before this call's time was over"
                raise
            raise deadline.exceeded() from error


def check_timeout(timeout: float) -> float:
    """The timeout in seconds.

    Raises:
        ValueError: it is negative or not a number.
    """
    if not isinstance(timeout, int | float) or not timeout >= 0:
        raise ValueError(f"timeout: expected seconds, at least 0, got {timeout!r}")
    return timeout


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over a blocking transport: it ends in its first step, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    finally:
        coroutine.close()
    raise RuntimeError("the transport is not a blocking one")
