"""The time budget of a call and the pauses between its attempts."""

import random
import time
from collections.abc import Callable, Iterator
from itertools import count

from pragmatiq_client.errors import DeadlineExceededError

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
SHORTEST_PAUSE = 0.01
"""Seconds; what is left of a budget below that is not worth another attempt."""


class Deadline:
    """A point in time that many attempts share; ``timeout`` in seconds."""

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout
        self._clock = clock
        self._end = clock() + timeout

    def left(self) -> float:
        """Seconds left, below 0 when it is over."""
        return self._end - self._clock()

    def remaining(self) -> float:
        """Seconds left; DeadlineExceededError when there are none."""
        left = self.left()
        if left <= 0:
            raise self.exceeded()
        return left

    def exceeded(self) -> DeadlineExceededError:
        return DeadlineExceededError(f"no answer within {self.timeout:g} s")


def pauses(retries: int | None, uniform: Callable[[float, float], float] = random.uniform) -> Iterator[float]:
    """Seconds to wait before each retry: doubling, at most ``LONGEST_PAUSE``, the upper half of each left to chance.

    ``retries`` None goes on without end: the budget ends it.
    """
    for attempt in count() if retries is None else range(retries):
        longest = min(FIRST_PAUSE * 2 ** min(attempt, 16), LONGEST_PAUSE)
        yield uniform(longest / 2, longest)


def fitted(pause: float, left: float) -> tuple[float, bool]:
    """The pause that fits what is left of the budget, and whether the attempt after it is the last.

    A pause that is too long becomes half of what is left, so that the budget is used to its end.
    """
    return (pause, False) if pause + SHORTEST_PAUSE < left else (left / 2, True)
