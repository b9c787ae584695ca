"""Kept connections to Triton."""

import asyncio
from collections.abc import Sequence

from pragmatiq_triton.gateway.triton.connection import Connection, LostConnectionError, TritonAnswer


class Pool:
    """As many connections to ``address`` (``host:port``) as requests are under way at once, kept for the next ones."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host = host
        self._port = int(port)
        self._idle: list[Connection] = []

    async def ask(self, request: Sequence[bytes | memoryview], deadline: float) -> TritonAnswer:
        """Send a request and wait for its answer, until ``deadline`` (``time.monotonic()``) at most.

        A connection that Triton ended before it answered anything is no fault of the request: it is sent once more over
        a new one, since to score twice is to score once. A caller that is cancelled takes its connection along.

        Raises:
            TimeoutError: no answer in time.
            ConnectionError: nobody listens, or the connection ended in the midst of an answer.
        """
        kept = self._kept()
        if kept is not None:
            try:
                return await self._over(kept, request, deadline)
            except LostConnectionError as error:
                if not error.unanswered:
                    raise
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(loop), self._host, self._port)
        return await self._over(connection, request, deadline)

    def close(self) -> None:
        """End what is idle."""
        while self._idle:
            self._idle.pop().close()

    async def _over(
        self, connection: Connection, request: Sequence[bytes | memoryview], deadline: float
    ) -> TritonAnswer:
        try:
            answer = await connection.ask(request, deadline)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None
