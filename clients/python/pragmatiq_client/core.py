"""What a call does, written once: split, send, retry, read.

The coroutines here run on any :class:`Transport`. A blocking one never suspends, so the sync client runs them to
their end in one step (:func:`run_blocking`) and no code exists twice.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from pragmatiq_client.errors import DeadlineExceededError, InvalidRecordError, ProtocolError, ServerUnavailableError
from pragmatiq_client.retry import Deadline, pauses
from pragmatiq_client.transports import Transport
from pragmatiq_client.wire import Answer, ModelConfig, Record, build_answers, encode_records, read_output

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
        tasks: Sequence[str] | None,
        max_batch_size: int | None,
    ) -> None:
        self.transport = transport
        self._model = model
        self._timeout = timeout
        self._retries = retries
        self._tasks = tasks
        self._max_batch_size = max_batch_size
        self._config: ModelConfig | None = None

    async def score(self, records: Sequence[Record], timeout: float | None) -> list[Answer]:
        deadline = self._deadline(timeout)
        rows = encode_records(records)
        step = await self._batch_size(len(rows), deadline)
        answers: list[Answer] = []
        for start in range(0, len(rows), step):
            try:
                answers += await self._score_batch(rows[start : start + step], deadline)
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
        if self._max_batch_size is not None or n_users <= 1:
            return self._max_batch_size or 1
        return (await self._model_config(deadline)).max_batch_size

    async def _score_batch(self, rows: npt.NDArray[np.object_], deadline: Deadline) -> list[Answer]:
        def infer(seconds: float) -> Awaitable[Any]:
            inputs = [self.transport.bytes_input("record", rows)]
            return self.transport.call("infer", self._model, inputs, timeout=seconds)

        response = await self._with_retries(infer, deadline)
        scores = read_output(response, "scores", len(rows))
        embedding = read_output(response, "embedding", len(rows))
        tasks = self._tasks
        if tasks is None:
            tasks = (await self._model_config(deadline)).tasks if scores.shape[1] else ()
        return build_answers(tasks, scores, embedding)

    async def _model_config(self, deadline: Deadline) -> ModelConfig:
        if self._config is None:
            try:
                config = await self._with_retries(
                    lambda seconds: self.transport.config(self._model, timeout=seconds), deadline
                )
            except ProtocolError as error:
                raise ProtocolError(
                    f"the config of model {self._model!r} cannot be read ({error}); "
                    "a client that is given `tasks` and `max_batch_size` does not need it"
                ) from error
            self._config = ModelConfig.parse(config)
        return self._config

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
