"""Scoring a file of records against a running server, several at once, answers in the file's order."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pragmatiq_client import Answer, AsyncScoringClient, InvalidRecordError, ScoringError
from pragmatiq_triton.errors import ServerError


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """The answer for one line of the file, or why its record was refused."""

    line: int
    user_id: str
    answer: Answer | None
    error: str | None

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON types."""
        head = {"line": self.line, "user_id": self.user_id}
        if self.answer is None:
            return {**head, "error": self.error}
        return {**head, "scores": self.answer.scores, "embedding": self.answer.embedding.tolist()}

    def as_line(self) -> str:
        """One line for people."""
        head = f"{self.line:>5}  {self.user_id:<16}"
        if self.answer is None:
            return f"{head}  refused: {self.error}"
        scores = "  ".join(f"{task} {score:.4f}" for task, score in self.answer.scores.items())
        start = " ".join(f"{value:+.3f}" for value in self.answer.embedding[:4])
        return f"{head}  {scores}  embedding[{len(self.answer.embedding)}] {start} ..."


def score_lines(
    file: Path, address: str, protocol: Literal["grpc", "http"], timeout: float, concurrency: int
) -> Iterator[LineAnswer]:
    """Score each non-empty line of ``file`` and yield the answers in order, a window of ``concurrency`` at a time.

    Raises :class:`ServerError` where the server cannot be reached or fails; a refused record is an answer.
    """
    lines = ((number, line) for number, line in enumerate(_read(file), 1) if line.strip())
    with asyncio.Runner() as runner:
        client = AsyncScoringClient(address, protocol=protocol, timeout=timeout)
        try:
            while window := list(islice(lines, concurrency)):
                yield from runner.run(_score(client, window))
        except ScoringError as error:
            raise ServerError(f"{address} ({protocol}): {error}") from None
        finally:
            runner.run(client.close())


async def _score(client: AsyncScoringClient, window: list[tuple[int, bytes]]) -> list[LineAnswer]:
    return await asyncio.gather(*(_score_line(client, number, line) for number, line in window))


async def _score_line(client: AsyncScoringClient, number: int, line: bytes) -> LineAnswer:
    try:
        return LineAnswer(number, _user_id(line), await client.score_one(line), None)
    except InvalidRecordError as error:
        return LineAnswer(number, _user_id(line), None, str(error))


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        yield from (line.rstrip(b"\r\n") for line in lines)


def _user_id(line: bytes) -> str:
    try:
        return str(json.loads(line)["user_id"])
    except (ValueError, KeyError, TypeError):
        return "?"
