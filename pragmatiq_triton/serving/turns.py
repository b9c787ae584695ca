"""Requests' work in turns, so that a short one does not wait for the end of a long one."""

import logging
import threading
from collections import deque
from collections.abc import Generator, Iterator
from time import perf_counter
from typing import TypeVar

from pragmatiq_triton.serving.terms import Terms

T = TypeVar("T")

TURN_SECONDS = 0.005
"""How long one request's work goes on while another's waits; a piece of work that was begun is finished."""

MOST_AT_ONCE = 4
"""Long works that take turns; more would hold what they have made so far without any of them being done earlier."""

logger = logging.getLogger(__name__)

Work = Iterator[None]
"""Yields between pieces of bounded work; answers its request itself, whatever happens."""


class Turns:
    """Runs works one piece at a time: new ones at once, and what remains of them in turns on a thread of its own.

    At any moment one thread alone runs a piece, so works may share what is not made for several threads.
    """

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._busy = False
        self._arriving = 0
        self._closed = False
        self._n_taking_turns = 0
        self._turns: deque[Work] = deque()
        self._waiting: deque[Work] = deque()
        self._thread: threading.Thread | None = None

    def run(self, work: Work) -> None:
        """Run a new work for a turn; what remains after it waits for its next."""
        with self._state:
            # The thread of the long works lets whoever comes go first.
            self._arriving += 1
            while self._busy:
                self._state.wait()
            self._arriving -= 1
            self._busy = True
        unfinished = _advance(work)
        with self._state:
            self._busy = False
            if unfinished:
                self._add(work)
            self._state.notify_all()

    def later(self, work: Work) -> None:
        """Run a work that is known to be long, or to be slow, after those that are waiting."""
        with self._state:
            self._add(work)
            self._state.notify_all()

    def close(self) -> None:
        """Finish what there is, and end."""
        with self._state:
            self._closed = True
            self._state.notify_all()
            thread = self._thread
        if thread:
            thread.join()

    def _add(self, work: Work) -> None:
        if self._n_taking_turns < MOST_AT_ONCE:
            self._n_taking_turns += 1
            self._turns.append(work)
        else:
            self._waiting.append(work)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="turns", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            unfinished = _advance(work)
            with self._state:
                self._busy = False
                if unfinished:
                    self._turns.append(work)
                elif self._waiting:
                    self._turns.append(self._waiting.popleft())
                else:
                    self._n_taking_turns -= 1
                self._state.notify_all()

    def _next(self) -> Work | None:
        with self._state:
            while self._busy or self._arriving or not self._turns:
                if self._closed and not (self._busy or self._arriving or self._turns):
                    return None
                self._state.wait()
            self._busy = True
            return self._turns.popleft()


def while_waited_for(steps: Generator[None, None, T], terms: Terms) -> Generator[None, None, T]:
    """The same steps and their result, as long as somebody waits for it; else :class:`GivenUpError` between two."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        yield
        if ended := terms.ended():
            steps.close()
            raise ended


def _advance(work: Work) -> bool:
    """Run pieces for a turn; whether there are more."""
    deadline = perf_counter() + TURN_SECONDS
    try:
        for _ in work:
            if perf_counter() >= deadline:
                return True
    except Exception:
        logger.exception("a request's work ended without an answer")
    return False
