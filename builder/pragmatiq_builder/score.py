"""Scoring a file of records against a running server, several at once, answers in the file's order."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from pragmatiq_builder.score_input import Line
from pragmatiq_client import (
    TLS,
    Answer,
    AsyncScoringClient,
    InvalidRecordError,
    ProtocolError,
    ScoringError,
    ServerUnavailableError,
)
from pragmatiq_triton.errors import ConfigError, MissingDependencyError, ServerError

FAILURES_IN_A_ROW = 50
"""So many records without an answer, one after the other, are the server's fault, and the rest is not tried."""

WAIT_SECONDS = 300.0
_PAUSE_SECONDS = 0.5

Kind = Literal["answered", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """What came of one line: its answer, or why it has none; ``raw`` is the line, None where it is too long."""

    line: int
    user_id: str
    raw: bytes | None
    answer: Answer | None = None
    error: ScoringError | None = None
    problem: str = ""

    @property
    def kind(self) -> Kind:
        """``refused``: the record is at fault; ``failed``: the server is."""
        if self.answer is not None:
            return "answered"
        return "refused" if self.error is None or isinstance(self.error, InvalidRecordError) else "failed"

    def as_dict(self) -> dict[str, Any]:
        """Everything but the line itself, as JSON types."""
        head = {"line": self.line, "user_id": self.user_id}
        if self.answer is None:
            said = {"kind": self.kind, "error": self.problem or str(self.error)}
            asked = {"request_id": self.error.request_id} if self.error is not None else {}
            return {**head, **said, **asked}
        return {**head, "scores": self.answer.scores, "embedding": self.answer.embedding.tolist()}

    def as_line(self) -> str:
        """One line for people."""
        head = f"{self.line:>5}  {self.user_id:<16}"
        if self.answer is None:
            return f"{head}  {self.kind}: {self.problem or self.error}"
        scores = "  ".join(f"{task} {score:.4f}" for task, score in self.answer.scores.items())
        start = " ".join(f"{value:+.3f}" for value in self.answer.embedding[:4])
        return f"{head}  {scores}  embedding[{len(self.answer.embedding)}] {start} ..."


@dataclass(frozen=True, slots=True)
class Server:
    """Where records are scored, and how long is waited for it.

    Attributes:
        url: as :class:`pragmatiq_client.ScoringClient` takes it.
        protocol: None is what the URL says.
        model: the ensemble's name.
        timeout: seconds for one record.
        wait: seconds without a server after which scoring ends; None is 300 once it has answered, and else one record's
            timeout, because a server that never answers is likely another.
        tls, headers, use_proxy: as the client takes them.
    """

    url: str
    protocol: Literal["grpc", "http"] | None = None
    model: str = "scoring"
    timeout: float = 30.0
    wait: float | None = None
    tls: TLS | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    use_proxy: bool = True

    def client(self) -> AsyncScoringClient:
        """A client; ConfigError for an argument that cannot be meant."""
        try:
            return AsyncScoringClient(
                self.url,
                protocol=self.protocol,
                model=self.model,
                timeout=self.timeout,
                tls=self.tls,
                headers=self.headers,
                use_proxy=self.use_proxy,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
        except ImportError as error:
            raise MissingDependencyError(str(error)) from None


def score_lines(lines: Iterable[Line], server: Server, concurrency: int) -> Iterator[list[LineAnswer]]:
    """Score lines and yield what came of them in order, a window of ``concurrency`` at a time.

    A server that goes away is waited for. A record that the server refuses, or fails on, is a result like others.

    Raises:
        ServerError: no server for too long, one that does not fit, or one that fails on record after record.
    """
    remaining = iter(lines)
    with asyncio.Runner() as runner:
        scoring = _Scoring(server.client(), server)
        try:
            while window := list(islice(remaining, concurrency)):
                answers, gone = runner.run(scoring.score(window))
                if answers:
                    yield answers
                if gone is not None:
                    raise gone
                scoring.check_streak(answers)
        except ScoringError as error:
            raise ServerError(str(error)) from None
        finally:
            runner.run(scoring.client.close())


class _Scoring:
    def __init__(self, client: AsyncScoringClient, server: Server) -> None:
        self.client = client
        self._server = server
        self._heard: float | None = None
        self._streak = 0

    async def score(self, window: list[Line]) -> tuple[list[LineAnswer], BaseException | None]:
        """What came of the lines, up to the first one for which there is no use in going on, and why."""
        results = await asyncio.gather(*(self._score_line(line) for line in window), return_exceptions=True)
        answers: list[LineAnswer] = []
        for result in results:
            if isinstance(result, BaseException):
                return answers, result
            answers.append(result)
        return answers, None

    def check_streak(self, answers: list[LineAnswer]) -> None:
        """ServerError where the server fails on everything."""
        for answer in answers:
            self._streak = self._streak + 1 if answer.kind == "failed" else 0
        if self._streak >= FAILURES_IN_A_ROW:
            last = next(answer for answer in reversed(answers) if answer.kind == "failed")
            raise ServerError(f"{self._streak} records in a row failed, the last one with: {last.error}")

    async def _score_line(self, line: Line) -> LineAnswer:
        if line.raw is None:
            return LineAnswer(line.number, "?", None, problem=f"a line of {line.size:,} bytes is no record")
        user_id = user_id_of(line.raw)
        begun = time.monotonic()
        while True:
            try:
                answer = await self.client.score_one(line.raw)
            except ServerUnavailableError:
                since = max(begun, self._heard or 0.0)
                if time.monotonic() - since >= self._patience():
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
            except ProtocolError as error:
                if self._heard is None:
                    raise
                return LineAnswer(line.number, user_id, line.raw, error=error)
            except ScoringError as error:
                if isinstance(error, InvalidRecordError):
                    self._heard = time.monotonic()
                return LineAnswer(line.number, user_id, line.raw, error=error)
            else:
                self._heard = time.monotonic()
                return LineAnswer(line.number, user_id, line.raw, answer=answer)

    def _patience(self) -> float:
        if self._server.wait is not None:
            return self._server.wait
        return 0.0 if self._heard is None else WAIT_SECONDS


def user_id_of(raw: bytes) -> str:
    """The record's own, or ``?``."""
    try:
        return str(json.loads(raw)["user_id"]).encode("utf-8", "replace").decode("utf-8")
    except (ValueError, KeyError, TypeError, RecursionError):
        return "?"
