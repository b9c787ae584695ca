"""The work of one process: requests in, numbers or reasons out."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pragmatiq_builder.predict.requests import Request
from pragmatiq_builder.processes import WorkerContext
from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import NotFiniteError, PragmatiqError, RecordError
from pragmatiq_triton.in_process import Answered, InProcessModels

AT_ONCE = 64
"""Requests that a process is given in one go."""


class Done(NamedTuple):
    """What came of ``requests``: those of ``rows`` were answered, the others have ``problems``, by row.

    The answered come without their record. ``scores`` float32 [n_rows, n_tasks] and ``embeddings`` float32
    [n_rows, dim] are by model; the latter if asked for.
    """

    requests: Sequence[Request]
    rows: list[int]
    problems: dict[int, str]
    scores: dict[str, Float32]
    embeddings: dict[str, Float32]


class Workers(NamedTuple):
    """How models are loaded, and in how many processes."""

    repository: Path
    processes: int
    trusted: bool | None
    settings_file: Path | None
    embeddings: bool

    def load(self) -> InProcessModels:
        """The models on one thread: processes are what uses the cores, since reading records is Python's work."""
        return InProcessModels(
            self.repository,
            threads=1,
            processes=self.processes,
            trusted=self.trusted,
            settings_file=self.settings_file,
        )

    def run(self, models: InProcessModels, chunks: Iterable[list[Request]]) -> Generator[Done, None, None]:
        """What came of each chunk, in order; two chunks per process are under way.

        ``models`` are used where one process is enough, and let go of where it is not.
        """
        if self.processes == 1:
            for chunk in chunks:
                yield answer(models, chunk, self.embeddings)
            return
        models.close()
        pool = ProcessPoolExecutor(self.processes, WorkerContext(), _start, (self,))
        try:
            yield from _in_order(lambda chunk: pool.submit(_work, chunk), chunks, 2 * self.processes)
        except BrokenProcessPool:
            raise PragmatiqError(
                f"one of {self.processes} processes ended before its work did; if memory ran out, take fewer "
                "(--processes); --resume goes on with what is done"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def answer(models: InProcessModels, requests: Sequence[Request], embeddings: bool) -> Done:
    """Score what of ``requests`` has a record; :class:`NotFiniteError` names the one that a damaged model fails on."""
    asked = [row for row, request in enumerate(requests) if not request.problem]
    problems = {row: request.problem for row, request in enumerate(requests) if request.problem}
    answered: list[dict[str, Answered]] = []
    rows: list[int] = []
    for row, found in zip(asked, models.answers([requests[row].raw for row in asked]), strict=True):
        if isinstance(found, RecordError):
            problems[row] = str(found)
        elif isinstance(found, NotFiniteError):
            raise NotFiniteError(f"{requests[row].place}: {found}")
        elif isinstance(found, Exception):
            raise found
        else:
            answered.append(found)
            rows.append(row)
    dim = models.manifest.dim
    scores = {
        model: np.array([each[model].scores for each in answered], np.float32).reshape(len(answered), len(tasks))
        for model, tasks in models.tasks.items()
    }
    vectors = {
        model: np.array([each[model].embedding for each in answered], np.float32).reshape(len(answered), dim)
        for model in (models.tasks if embeddings else ())
    }
    # What was answered is not needed any more, and a part of long histories would not fit into memory.
    kept = [request if row in problems else request._replace(raw=b"") for row, request in enumerate(requests)]
    return Done(kept, rows, dict(sorted(problems.items())), scores, vectors)


def _in_order(
    submit: Callable[[list[Request]], "Future[Done]"], chunks: Iterable[list[Request]], most: int
) -> Iterator[Done]:
    open_work: deque[Future[Done]] = deque()
    for chunk in chunks:
        open_work.append(submit(chunk))
        if len(open_work) >= most:
            yield open_work.popleft().result()
    while open_work:
        yield open_work.popleft().result()


_models: InProcessModels
_embeddings: bool


def _start(workers: Workers) -> None:
    global _models, _embeddings
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _models, _embeddings = workers.load(), workers.embeddings


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(requests: list[Request]) -> Done:
    return answer(_models, requests, _embeddings)
