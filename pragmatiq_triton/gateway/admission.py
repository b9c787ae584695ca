"""How much is under way at once, and who waits for it."""

import asyncio
from collections import deque
from contextlib import suppress
from time import monotonic

from pragmatiq_triton.gateway.errors import BusyError
from pragmatiq_triton.gateway.limits import Limits

_SHORTEST_RETRY = 0.1
_LONGEST_RETRY = 30.0
_WEIGHT = 0.1


class Admission:
    """A bounded number of requests under way, and a bounded queue of those that wait, first come first served."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._waiting_bytes = 0
        self._seconds = 0.05  # of a request, by a moving average
        self.under_way = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    async def enter(self, n_bytes: int, deadline: float) -> None:
        """Wait for a turn of a request of ``n_bytes``; :meth:`leave` ends it.

        Raises:
            BusyError: no room to wait, at once.
            TimeoutError: no turn before ``deadline`` (``time.monotonic()``).
        """
        limits = self._limits
        if self.under_way < limits.max_under_way and not self._waiting:
            self.under_way += 1
            return
        if len(self._waiting) >= limits.max_waiting or self._waiting_bytes + n_bytes > limits.max_waiting_bytes:
            self.refused += 1
            raise BusyError("the server has more to do than it may queue; try again later", self._retry_after())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (turn, n_bytes)
        self._waiting.append(place)
        self._waiting_bytes += n_bytes
        try:
            async with asyncio.timeout(deadline - monotonic()):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._next()  # the turn came at the same moment: it is another's
            else:
                with suppress(ValueError):  # passed over already by whoever left meanwhile
                    self._waiting.remove(place)
                    self._waiting_bytes -= n_bytes
            raise

    def leave(self, seconds: float) -> None:
        """End a turn that took ``seconds``."""
        self._seconds += _WEIGHT * (seconds - self._seconds)
        self._next()

    def _next(self) -> None:
        while self._waiting:
            turn, n_bytes = self._waiting.popleft()
            self._waiting_bytes -= n_bytes
            if not turn.done():
                turn.set_result(None)  # the place under way passes on
                return
        self.under_way -= 1

    def _retry_after(self) -> float:
        """When there is likely room: the queue's length over the rate at which requests end."""
        estimate = self._seconds * len(self._waiting) / max(self.under_way, 1)
        return min(max(estimate, _SHORTEST_RETRY), _LONGEST_RETRY)
