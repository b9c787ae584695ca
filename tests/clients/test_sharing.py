"""One client in many threads, event loops and processes."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pragmatiq_client import AsyncScoringClient, DeadlineExceededError, ScoringClient
from pragmatiq_triton.server import ServerEnvironment, TritonServer
from pragmatiq_triton.server.ports import reserve_ports
from tests.clients.between import forwarding

pytestmark = pytest.mark.triton


def address(server: TritonServer, protocol: str) -> str:
    return f"{protocol}://{server.grpc_url if protocol == 'grpc' else server.http_url}"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_one_client_serves_many_threads(server: TritonServer, protocol: str) -> None:
    n_threads, n_calls = 16, 60
    with ScoringClient(address(server, protocol), timeout=60.0) as client, ThreadPoolExecutor(n_threads) as pool:

        def calls(thread: int) -> list[float]:
            return [client.score_one({"n": 100 * thread + n}).scores["fraud"] for n in range(n_calls)]

        found = list(pool.map(calls, range(n_threads)))
    assert found == [[100.0 * thread + n for n in range(n_calls)] for thread in range(n_threads)]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_call_out_of_time_breaks_none_beside_it(server: TritonServer, protocol: str) -> None:
    with ScoringClient(address(server, protocol), timeout=30.0) as client, ThreadPoolExecutor(2) as pool:
        assert client.score_one({"n": 1}).scores["fraud"] == 1.0
        beside = pool.submit(client.score_one, {"sleep": 1.0, "n": 5})
        time.sleep(0.3)
        with pytest.raises(DeadlineExceededError):
            client.score_one({"sleep": 1.0}, timeout=0.2)
        assert beside.result().scores["fraud"] == 5.0


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_close_waits_for_no_one_and_opens_again(server: TritonServer, protocol: str) -> None:
    client = ScoringClient(address(server, protocol), timeout=30.0)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(client.score_one, {"sleep": 0.5, "n": 5})
        time.sleep(0.2)
        client.close()
        assert beside.result().scores["fraud"] == 5.0
    assert client.score_one({"n": 6}).scores["fraud"] == 6.0
    client.close()
    client.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_forked_process_opens_its_own_connections(server: TritonServer, protocol: str) -> None:
    with forwarding(server.grpc_url if protocol == "grpc" else server.http_url) as proxy:
        client = ScoringClient(f"{protocol}://{proxy.url}", timeout=20.0)
        assert client.score_one({"n": 1}).scores["fraud"] == 1.0
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if client.score_one({"n": 2}).scores["fraud"] == 2.0 else 2
            finally:
                os._exit(code)
        assert client.score_one({"n": 3}).scores["fraud"] == 3.0
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.score_one({"n": 4}).scores["fraud"] == 4.0
        assert proxy.accepted == 2
        client.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_async_client_in_one_loop_after_another(server: TritonServer, protocol: str) -> None:
    client = AsyncScoringClient(address(server, protocol), timeout=20.0)

    async def ask(n: int) -> float:
        answer = await client.score_one({"n": n})
        await client.close()
        return answer.scores["fraud"]

    assert [asyncio.run(ask(n)) for n in range(3)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_async_client_in_two_loops_at_once(server: TritonServer, protocol: str) -> None:
    client = AsyncScoringClient(address(server, protocol), timeout=20.0)
    found: dict[int, list[float]] = {}

    async def ask(start: int) -> None:
        answers = await asyncio.gather(*(client.score_one({"n": start + n}) for n in range(20)))
        found[start] = [answer.scores["fraud"] for answer in answers]
        await client.close()

    threads = [threading.Thread(target=asyncio.run, args=(ask(start),)) for start in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {start: [float(start + n) for n in range(20)] for start in (0, 100)}


def test_callers_lose_nothing_over_a_restart(repository: Path, environment: ServerEnvironment) -> None:
    names = ("http_port", "grpc_port", "metrics_port")
    options = dict(zip(names, reserve_ports("127.0.0.1", [0, 0, 0]), strict=True))
    first = TritonServer(repository, environment=environment, extra_args=["--exit-timeout-secs=1"], **options)
    first.start()
    clients = [ScoringClient(address(first, protocol), timeout=60.0) for protocol in ("grpc", "http")]
    over = threading.Event()

    def calls(caller: int) -> list[float]:
        found = []
        while not over.is_set():
            found.append(clients[caller % 2].score_one({"n": caller}).scores["fraud"])
        return found

    with ThreadPoolExecutor(24) as pool:
        callers = [pool.submit(calls, caller) for caller in range(24)]
        try:
            time.sleep(0.5)
            first.stop()
            time.sleep(0.5)
            with TritonServer(repository, environment=environment, **options):
                time.sleep(1.5)
                over.set()
                found = [caller.result() for caller in callers]
        finally:
            over.set()
            first.stop()
    assert all(set(answers) == {float(caller)} for caller, answers in enumerate(found))
    for client in clients:
        client.close()
