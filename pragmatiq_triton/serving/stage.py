"""What the three stages have in common, and how one becomes a Triton Python model."""

import json
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.boards import SEAL_KEY
from pragmatiq_triton.errors import (
    DataError,
    GivenUpError,
    NotFiniteError,
    PragmatiqError,
    StoppingError,
    UnsealedError,
    printable,
)
from pragmatiq_triton.given_up import GivenUp
from pragmatiq_triton.serving.metrics import MetricsPublisher, Sample
from pragmatiq_triton.serving.own_memory import make_own_region_private
from pragmatiq_triton.serving.python_path import heed_python_path
from pragmatiq_triton.serving.seals import SEAL, VECTORS_SEAL, Seals
from pragmatiq_triton.serving.terms import WAITED_FOR, Terms, read_terms
from pragmatiq_triton.stage_times import StageTimes
from pragmatiq_triton.tensors import Arrays

logger = logging.getLogger(__name__)

Tensors = dict[str, npt.NDArray[Any]]
Answer = Tensors | Exception
"""A request's output tensors, or what went wrong: :class:`DataError` where it was the request."""

Reply = Callable[[Answer], None]
"""Answers one request, once, from any thread."""

_OUTCOMES = ("answered", "refused", "unsealed", "failed", "stopping", "given_up", "canary")

MOST_MESSAGE_CHARACTERS = 900
"""Of an error's message; what repeats a caller's data is cut where it is made."""

GRACE_SECONDS = 0.01
"""How long an execution waits for its answers: longer than a history takes whose events are known, shorter than a
caller behind it would notice."""


class Stage(ABC):
    """One model of the ensemble."""

    grace_seconds = GRACE_SECONDS
    """How long an execution waits for what :meth:`submit` has not answered yet."""

    @abstractmethod
    def submit(
        self,
        requests: Sequence[Arrays],
        replies: Sequence[Reply],
        *,
        counted: bool = True,
        terms: Sequence[Terms] = (),
    ) -> None:
        """See that each of ``replies`` is called with the answer to its request, now or later.

        A bad request does not touch its neighbours. The requests' memory is only there until this returns. Those of
        health checks are not ``counted``. ``terms`` are the requests', if they have any: what nobody waits for any more
        is not worked on, and is answered with :class:`GivenUpError`.
        """

    @abstractmethod
    def samples(self) -> list[Sample]:
        """What the stage has counted."""

    def close(self) -> None:  # noqa: B027 - not every stage holds something
        """Answer what is under way and let go of what is held."""

    def __call__(self, requests: Sequence[Arrays]) -> list[Answer]:
        """Submit ``requests`` and wait for their answers."""
        answers: list[Answer] = [{}] * len(requests)
        open_replies = threading.Semaphore(0)

        def reply_to(i: int) -> Reply:
            def reply(answer: Answer) -> None:
                answers[i] = answer
                open_replies.release()

            return reply

        self.submit(requests, [reply_to(i) for i in range(len(requests))])
        for _ in requests:
            open_replies.acquire()
        return answers


def terms_of(requests: Sequence[Arrays], terms: Sequence[Terms]) -> Sequence[Terms]:
    """One for each request, whether they have any or not."""
    return terms or [WAITED_FOR] * len(requests)


class StageModel(ABC):
    """Base of the repository's ``TritonPythonModel`` classes: decode tensors, submit to the stage, encode tensors.

    Follows the Python backend's interface (Triton documentation, "Python Backend"). An execution whose requests are
    all answered within :data:`GRACE_SECONDS` returns the answers, which is the cheapest way; otherwise it ends, takes
    new requests, and each answer is sent when it is ready.
    """

    name: str
    input_names: tuple[str, ...]

    @abstractmethod
    def load(self, folder: Path, parameters: dict[str, str]) -> Stage:
        """Make the stage from the version folder and the config's parameters."""

    def initialize(self, args: dict[str, str]) -> None:
        import triton_python_backend_utils as pb_utils

        make_own_region_private()
        heed_python_path()
        self._pb = pb_utils
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        declared = {tensor["name"] for tensor in config["input"]}
        self._inputs = [name for name in self.input_names if name in declared]
        self._outputs = {tensor["name"] for tensor in config["output"]}
        # Repositories of earlier versions have no place for seals.
        self._seals = Seals.of_process() if SEAL in declared | self._outputs else Seals(None)
        self._is_sealed = SEAL in declared
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            self._stage = self.load(folder, parameters)
        except PragmatiqError as error:
            raise pb_utils.TritonModelException(f"{self.name}: {error}") from None
        self._given_up = GivenUp.of_process()
        self._stage_times = StageTimes.of_process()
        self._outcomes = dict.fromkeys(_OUTCOMES, 0)
        if self._is_sealed and not self._seals.has_key:
            pb_utils.Logger.log_warn(f"{self.name}: no {SEAL_KEY}: tensors of whoever reaches this model are taken")
        self._counting = threading.Lock()
        self._metrics = MetricsPublisher(pb_utils, args["model_name"], self._samples)
        self._metrics.start()

    def execute(self, requests: list[Any]) -> list[Any] | None:
        terms = [read_terms(request, self._given_up) for request in requests]
        began = monotonic_ns()

        def answered(i: int) -> None:
            self._stage_times.write(self.name, terms[i].ticket, began, monotonic_ns())

        execution = _Execution(requests, [each.is_canary for each in terms], self.response, answered)
        for counted in (True, False):
            arrays, replies, of_these = [], [], []
            for request, its, reply in zip(requests, terms, execution.replies, strict=True):
                if its.is_canary is counted:
                    continue
                if ended := its.ended():
                    reply(ended)
                    continue
                try:
                    tensors, seal = self._opened(request)
                except Exception as error:
                    reply(error)
                else:
                    arrays.append(tensors)
                    replies.append(self._sealing(reply, seal))
                    of_these.append(its)
            if replies:
                try:
                    self._stage.submit(arrays, replies, counted=counted, terms=of_these)
                except Exception as error:
                    # Stages answer each request on its own; this is for those that a fault of ours left open.
                    for reply in replies:
                        reply(error)
        return execution.responses(self._stage.grace_seconds)

    def _opened(self, request: Any) -> tuple[Arrays, npt.NDArray[Any] | None]:
        """The tensors of ``request`` and its seal; :class:`UnsealedError` where the one is not of the other."""
        arrays = {name: self._pb.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        if not self._is_sealed:
            return arrays, None
        seal, vectors = (self._tensor(request, name) for name in (SEAL, VECTORS_SEAL))
        if VECTORS_SEAL in self._outputs:
            self._seals.check_texts(arrays, seal)
        else:
            self._seals.check_users(arrays, seal, vectors)
        return arrays, seal

    def _tensor(self, request: Any, name: str) -> npt.NDArray[Any] | None:
        found = self._pb.get_input_tensor_by_name(request, name)
        return None if found is None else found.as_numpy()

    def _sealing(self, reply: Reply, seal: npt.NDArray[Any] | None) -> Reply:
        """``reply``, with the seal on what the next model reads; ``seal`` is the request's."""
        if SEAL not in self._outputs and VECTORS_SEAL not in self._outputs:
            return reply

        def sealed(answer: Answer) -> None:
            if not isinstance(answer, Exception):
                if SEAL in self._outputs:
                    answer = {**answer, SEAL: self._seals.of_tokens(answer)}
                else:
                    answer = {**answer, VECTORS_SEAL: self._seals.of_vectors(answer, seal)}
            reply(answer)

        return sealed

    def finalize(self) -> None:
        self._stage.close()
        self._metrics.stop()

    def response(self, answer: Answer, canary: bool) -> Any:
        """The answer as Triton's, to a canary or to a caller; one that cannot be sent becomes an error."""
        if not isinstance(answer, Exception):
            try:
                response = self._pb.InferenceResponse(
                    [
                        self._pb.Tensor(name, np.ascontiguousarray(array))
                        for name, array in answer.items()
                        if name in self._outputs
                    ]
                )
            except Exception as error:
                answer = error
            else:
                self._count("answered", canary)
                return response
        outcome, code, problem = self._outcome_of(answer)
        self._count(outcome, canary)
        # Triton's gRPC endpoint answers with another error where the message is too long.
        message = printable(f"{self.name}: {problem}", MOST_MESSAGE_CHARACTERS)
        return self._pb.InferenceResponse(error=self._pb.TritonError(message, code))

    def _outcome_of(self, error: Exception) -> tuple[str, Any, str]:
        """How an error is counted, its code, and what its caller is told; a fault of ours is logged."""
        codes = self._pb.TritonError
        if isinstance(error, UnsealedError):
            return "unsealed", codes.INVALID_ARG, str(error)
        if isinstance(error, DataError):
            return "refused", codes.INVALID_ARG, str(error)
        if isinstance(error, StoppingError):
            return "stopping", codes.UNAVAILABLE, str(error)
        if isinstance(error, GivenUpError):
            return "given_up", codes.CANCELLED, str(error)
        what = type(error).__name__
        self._pb.Logger.log_error(printable(f"{self.name}: {what}: {error}", MOST_MESSAGE_CHARACTERS))
        return "failed", codes.INTERNAL, f"internal error: {error if isinstance(error, NotFiniteError) else what}"

    def _count(self, outcome: str, canary: bool) -> None:
        with self._counting:
            self._outcomes["canary" if canary else outcome] += 1

    def _samples(self) -> list[Sample]:
        outcomes = [
            Sample("pragmatiq_requests_total", count, {"outcome": outcome}) for outcome, count in self._outcomes.items()
        ]
        return [*outcomes, *self._stage.samples()]


class _Execution:
    """The replies to one execution's requests: kept and returned together, or sent one by one once it has ended."""

    def __init__(
        self,
        requests: list[Any],
        canaries: Sequence[bool],
        response: Callable[[Answer, bool], Any],
        answered: Callable[[int], None],
    ) -> None:
        """Call ``answered`` with a request's place once its answer is known, before the answer is sent."""
        self._answered = answered
        self._requests = requests
        self._canaries = canaries
        self._response = response
        self._answers: dict[int, Answer] = {}
        self._senders: list[Any] = []
        self._lock = threading.Lock()
        self._complete = threading.Event()
        self.replies: list[Reply] = [partial(self._reply, i) for i in range(len(requests))]

    def responses(self, grace_seconds: float) -> list[Any] | None:
        """All responses in the requests' order, or None where some come later than in ``grace_seconds``."""
        self._complete.wait(grace_seconds)
        with self._lock:
            if len(self._answers) == len(self._requests):
                return [self._response(self._answers[i], canary) for i, canary in enumerate(self._canaries)]
            self._senders = [request.get_response_sender() for request in self._requests]
            ready = list(self._answers.items())
        for i, answer in ready:
            self._send(i, answer)
        return None

    def _reply(self, i: int, answer: Answer) -> None:
        with self._lock:
            # The first answer counts: an error of the whole execution comes after those given already.
            if i in self._answers:
                return
            self._answers[i] = answer
            self._answered(i)
            if not self._senders:
                if len(self._answers) == len(self._requests):
                    self._complete.set()
                return
        self._send(i, answer)

    def _send(self, i: int, answer: Answer) -> None:
        try:
            self._senders[i].send(self._response(answer, self._canaries[i]), flags=_FINAL)
        except Exception:
            # The others still wait for theirs.
            logger.exception("an answer could not be sent")


# TRITONSERVER_RESPONSE_COMPLETE_FINAL of the C API.
_FINAL = 1
