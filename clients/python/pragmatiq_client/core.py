"""What a call does, written once: split, send, retry, read.

The coroutines here run on any :class:`Transport`. A blocking one never suspends, so the sync client runs them to
their end in one step (:func:`run_blocking`) and no code exists twice.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from pragmatiq_client.errors import DeadlineExceededError, InvalidRecordError, ProtocolError, ServerUnavailableError
from pragmatiq_client.retry import Deadline, pauses
from pragmatiq_client.transports import Transport
from pragmatiq_client.wire import (
    OUTPUTS,
    Answer,
    Record,
    encode_records,
    read_answers,
    read_max_batch_size,
    routing_headers,
)

T = TypeVar("T")


class Scoring:
    """The calls of both clients; :class:`pragmatiq_client.ScoringClient` tells what the arguments mean."""

    def __init__(
        self,
        transport: Transport,
        *,
        model: str,
        timeout: float,
        retries: int,
        max_batch_size: int | None,
    ) -> None:
        self.transport = transport
        self._model = model
        self._timeout = timeout
        self._retries = retries
        self._max_batch_size = max_batch_size

    async def score(self, records: Sequence[Record], timeout: float | None, routing_key: str | None) -> list[Answer]:
        deadline = self._deadline(timeout)
        headers = routing_headers(routing_key)
        rows = encode_records(records)
        step = await self._batch_size(len(rows), deadline)
        answers: list[Answer] = []
        for start in range(0, len(rows), step):
            try:
                answers += await self._score_batch(rows[start : start + step], headers, deadline)
            except InvalidRecordError as error:
                raise error.moved(start) from error.__cause__
        return answers

    async def server_ready(self, timeout: float | None) -> bool:
        return await self._is("is_server_ready", timeout)

    async def model_ready(self, timeout: float | None) -> bool:
        return await self._is("is_model_ready", timeout, self._model)

    async def _is(self, method: str, timeout: float | None, *arguments: str) -> bool:
        try:
            seconds = self._deadline(timeout).remaining()
            return bool(await self.transport.call(method, *arguments, timeout=seconds))
        except (ServerUnavailableError, DeadlineExceededError):
            return False

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout)

    async def _batch_size(self, n_users: int, deadline: Deadline) -> int:
        if self._max_batch_size is None and n_users > 1:
            self._max_batch_size = await self._find_max_batch_size(deadline)
        return self._max_batch_size or 1

    async def _find_max_batch_size(self, deadline: Deadline) -> int:
        """The model's; 1, which every model takes, where its config is not for us to read."""
        try:
            config = await self._with_retries(
                lambda seconds: self.transport.config(self._model, timeout=seconds), deadline
            )
        except ProtocolError:
            return 1
        return read_max_batch_size(config)

    async def _score_batch(
        self, rows: npt.NDArray[np.object_], headers: Mapping[str, str], deadline: Deadline
    ) -> list[Answer]:
        def infer(seconds: float) -> Awaitable[Any]:
            inputs = [self.transport.bytes_input("record", rows)]
            outputs = [self.transport.requested_output(name) for name in OUTPUTS]
            # tritonclient adds to the headers that it is given.
            return self.transport.call(
                "infer", self._model, inputs, outputs=outputs, headers=dict(headers), timeout=seconds
            )

        return read_answers(await self._with_retries(infer, deadline), len(rows))

    async def _with_retries(self, send: Callable[[float], Awaitable[T]], deadline: Deadline) -> T:
        """Scoring changes nothing on the server, so whatever did not reach it, or got lost, may be sent again."""
        try:
            for pause in pauses(self._retries):
                try:
                    return await send(deadline.remaining())
                except ServerUnavailableError:
                    if not deadline.allows(pause):
                        raise
                    await self.transport.sleep(pause)
            return await send(deadline.remaining())
        except DeadlineExceededError as error:
            raise deadline.exceeded() from error


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over a blocking transport: it ends in its first step, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    finally:
        coroutine.close()
    raise RuntimeError("the transport is not a blocking one")
