"""Kept connections to Triton."""

import asyncio
from collections.abc import Callable, Sequence

from pragmatiq_triton.gateway.triton.connection import Connection, LostConnectionError, TritonAnswer


class Pool:
    """As many connections to ``address`` (``host:port``) as requests are under way at once, kept for the next ones."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host = host
        self._port = int(port)
        self._idle: list[Connection] = []

    async def ask(
        self,
        request: Sequence[bytes | memoryview],
        deadline: float,
        when_over: Callable[[], None] = lambda: None,
    ) -> TritonAnswer:
        """Send a request and wait for its answer, until ``deadline`` (``time.monotonic()``) at most.

        A connection that Triton ended before it answered anything is no fault of the request: it is sent once more over
        a new one, since to score twice is to score once. A connection whose caller gave up is kept as well, for
        others once the models have said that they dropped the request: a new one for each would use up the ports.

        ``when_over`` is called once, when Triton is done with the request: with the answer, or some time after the
        caller has given up.

        Raises:
            TimeoutError: no answer in time.
            ConnectionError: nobody listens, or the connection ended in the midst of an answer.
        """
        left = False

        def over(connection: Connection) -> None:
            self._keep(connection)
            when_over()

        try:
            kept = self._kept()
            if kept is not None:
                try:
                    return await self._over(kept, request, deadline)
                except LostConnectionError as error:
                    if not error.unanswered:
                        raise
            loop = asyncio.get_running_loop()
            _, kept = await loop.create_connection(lambda: Connection(loop), self._host, self._port)
            return await self._over(kept, request, deadline)
        except (TimeoutError, asyncio.CancelledError):
            if kept is not None:
                left = True
                kept.leave(over)
            raise
        finally:
            if not left:
                when_over()

    def close(self) -> None:
        """End what is idle."""
        while self._idle:
            self._idle.pop().close()

    async def _over(
        self, connection: Connection, request: Sequence[bytes | memoryview], deadline: float
    ) -> TritonAnswer:
        try:
            answer = await connection.ask(request, deadline)
        except LostConnectionError:
            connection.close()
            raise
        self._keep(connection)
        return answer

    def _keep(self, connection: Connection) -> None:
        if connection.is_usable:
            self._idle.append(connection)

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None
