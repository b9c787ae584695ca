"""The time budget of a call and the pauses between its attempts."""

import random
import time
from collections.abc import Callable, Iterator

from pragmatiq_client.errors import DeadlineExceededError

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0


class Deadline:
    """A point in time that many attempts share; ``timeout`` in seconds."""

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout
        self._clock = clock
        self._end = clock() + timeout

    def remaining(self) -> float:
        """Seconds left; DeadlineExceededError when there are none."""
        left = self._end - self._clock()
        if left <= 0:
            raise self.exceeded()
        return left

    def allows(self, seconds: float) -> bool:
        """Whether there is time left after a pause of that long."""
        return self._end - self._clock() > seconds

    def exceeded(self) -> DeadlineExceededError:
        return DeadlineExceededError(f"no answer within {self.timeout:g} s")


def pauses(retries: int, uniform: Callable[[float, float], float] = random.uniform) -> Iterator[float]:
    """Seconds to wait before each retry: doubling, at most ``LONGEST_PAUSE``, the upper half of each left to chance."""
    for attempt in range(retries):
        longest = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
        yield uniform(longest / 2, longest)
