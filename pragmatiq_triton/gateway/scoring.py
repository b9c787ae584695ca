"""From a request that has been read to its answer: a turn, the hop to Triton, and what is said of it."""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any

from pragmatiq_triton.gateway.admission import Admission
from pragmatiq_triton.gateway.errors import DeadlineError, UnavailableError
from pragmatiq_triton.gateway.inference import InferenceAnswer, InferenceRequest
from pragmatiq_triton.gateway.triton.messages import Output, infer_request, read_infer
from pragmatiq_triton.gateway.triton.pool import Pool
from pragmatiq_triton.given_up import GivenUp
from pragmatiq_triton.stage_times import StageTime, StageTimes


class Scoring:
    """Answers requests through the models behind ``pool``; the models read on ``given_up`` whose callers are gone.

    On ``stage_times`` they write when they worked on what.
    """

    def __init__(self, pool: Pool, admission: Admission, given_up: GivenUp, stage_times: StageTimes) -> None:
        self._pool = pool
        self._given_up = given_up
        self._stage_times = stage_times
        self.admission = admission
        # A gateway that was restarted does not take up the tickets of the one before.
        self._tickets = itertools.count(secrets.randbits(48) + 1)
        self._calls: set[asyncio.Task[Any] | None] = set()
        self._gave_up = False
        self.is_stopping = False

    @property
    def under_way(self) -> int:
        """Requests that were accepted and have no answer yet."""
        return len(self._calls)

    def give_up(self) -> None:
        """Answer what is under way with :class:`UnavailableError` now."""
        self._gave_up = True
        for call in self._calls:
            if call is not None:
                call.cancel()

    async def score(self, request: InferenceRequest) -> InferenceAnswer:
        """The outputs that ``request`` asks of the models.

        A caller that goes (this call is cancelled) takes its work along.

        Raises:
            BusyError: no room in the queue.
            DeadlineError: no answer in time.
            UnavailableError: the models cannot be reached, or the gateway is about to stop.
            RefusedRecordError: a record breaks the contract.
            ModelError: the models failed.
        """
        if self.is_stopping:
            raise UnavailableError("the server is stopping")
        call = asyncio.current_task()
        self._calls.add(call)
        try:
            return await self._score(request)
        except asyncio.CancelledError:
            if self._gave_up and call is not None:
                call.uncancel()
                raise UnavailableError("the server has stopped before the answer came") from None
            raise
        finally:
            self._calls.discard(call)

    async def _score(self, request: InferenceRequest) -> InferenceAnswer:
        try:
            await self.admission.enter(request.n_bytes, request.deadline)
            began = monotonic()
            # What a caller gave up keeps its place until the models have dropped it: in Triton's queues nothing is
            # bounded.
            over = partial(self._leave, began)
            outputs, stages = await self._ask(request, over)
            seconds = monotonic() - began
        except TimeoutError:
            raise DeadlineError(f"no answer within {request.seconds:.3g} s") from None
        return InferenceAnswer(request, outputs, began - request.started, seconds, stages)

    def _leave(self, began: float) -> None:
        self.admission.leave(monotonic() - began)

    async def _ask(
        self, request: InferenceRequest, when_over: Callable[[], None]
    ) -> tuple[Mapping[str, Output], list[StageTime]]:
        ticket = next(self._tickets)
        parameters: dict[str, int | str | bool] = {"deadline": int(request.deadline * 1e6), "ticket": ticket}
        message = infer_request(request.ensemble.name, request.documents, request.outputs, parameters)
        try:
            answer = await self._pool.ask(message, request.deadline, when_over)
        except ConnectionError as error:
            raise UnavailableError("the models cannot be reached; the server has to be started again") from error
        except (TimeoutError, asyncio.CancelledError):
            self._given_up.write(ticket)
            raise
        return read_infer(answer), self._stage_times.read(ticket)
