"""Connections to Triton: kept, also those whose callers gave up; what is given up keeps its place until it is over."""

import asyncio
from time import monotonic

import pytest

from pragmatiq_triton.gateway.triton.connection import Connection
from pragmatiq_triton.gateway.triton.pool import Pool

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
REQUEST = [b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"]


class Server:
    """Answers each request once ``go`` is set; ``connections`` counts those that were made."""

    def __init__(self):
        self.connections = 0
        self.go = asyncio.Event()
        self.go.set()
        self.drops = False

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await self.go.wait()
                if self.drops:
                    break
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


async def test_a_connection_serves_one_request_after_the_other():
    async with Server() as server:
        pool, over = Pool(server.address), []
        for number in range(5):
            answer = await pool.ask(REQUEST, monotonic() + 5, lambda number=number: over.append(number))
            assert (answer.status, answer.body) == (200, b"{}")
        assert over == [0, 1, 2, 3, 4]
        assert server.connections == 1
        pool.close()


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
async def test_what_is_given_up_is_over_once_the_answer_has_come_and_its_connection_is_kept(how):
    async with Server() as server:
        pool, over = Pool(server.address), []
        server.go.clear()
        asked = asyncio.create_task(
            pool.ask(REQUEST, monotonic() + (0.05 if how == "timeout" else 5), lambda: over.append(1))
        )
        await asyncio.sleep(0.02)
        if how == "cancelled":
            asked.cancel()
        with pytest.raises((TimeoutError, asyncio.CancelledError)):
            await asked
        assert over == []
        server.go.set()
        while not over:
            await asyncio.sleep(0.01)
        assert (await pool.ask(REQUEST, monotonic() + 5)).status == 200
        assert over == [1]
        assert server.connections == 1
        pool.close()


async def test_what_is_given_up_is_over_where_the_connection_ends():
    async with Server() as server:
        pool, over = Pool(server.address), []
        server.go.clear()
        with pytest.raises(TimeoutError):
            await pool.ask(REQUEST, monotonic() + 0.05, lambda: over.append(1))
        server.drops = True
        server.go.set()
        while not over:
            await asyncio.sleep(0.01)
        server.drops = False
        assert (await pool.ask(REQUEST, monotonic() + 5)).status == 200
        assert (over, server.connections) == ([1], 2)
        pool.close()


async def test_a_failed_request_is_over_once():
    async with Server() as server:
        pool, over = Pool(server.address), []
        server.drops = True
        with pytest.raises(ConnectionError):
            await pool.ask(REQUEST, monotonic() + 5, lambda: over.append(1))
        assert over == [1]
    with pytest.raises(ConnectionError):
        await Pool("127.0.0.1:1").ask(REQUEST, monotonic() + 5, lambda: over.append(2))
    assert over == [1, 2]


async def test_what_is_given_up_as_its_answer_comes_is_over_at_once():
    async with Server() as server:
        loop = asyncio.get_running_loop()
        host, _, port = server.address.partition(":")
        server.go.clear()
        _, connection = await loop.create_connection(lambda: Connection(loop), host, int(port))
        asked = asyncio.create_task(connection.ask(REQUEST, monotonic() + 5))
        await asyncio.sleep(0.02)
        connection.data_received(ANSWER)
        asked.cancel()  # before whoever waits has seen the answer
        with pytest.raises(asyncio.CancelledError):
            await asked
        over = []
        connection.leave(over.append)
        assert over == [connection]
        assert connection.is_usable
        connection.close()
