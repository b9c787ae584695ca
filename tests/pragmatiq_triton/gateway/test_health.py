"""What the gateway says of the models' health, and how cheaply it is asked."""

import http.client
import os
import socket
import subprocess
import threading
from pathlib import Path

import grpc
import pytest

from pragmatiq_triton.gateway.health import Health
from pragmatiq_triton.gateway.identity import Ensemble
from pragmatiq_triton.gateway.triton.connection import TritonAnswer

HEALTHCHECK = Path(__file__).parents[3] / "docker" / "healthcheck.sh"
DEAD = TritonAnswer(500, None, b"{\"error\": \"in ensemble 'scoring', Stub process 'scorer_0_0' is not healthy.\"}")


NOT_READY = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\nscorer: dead"


class Answers:
    """In place of connections to Triton: one answer after the other."""

    def __init__(self, *answers):
        self._answers = list(answers)

    async def ask(self, request, deadline):
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(server):
    with server.accept()[0] as connection:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += connection.recv(1024)
        connection.sendall(NOT_READY)


async def after(*answers):
    health = Health(Answers(*answers), [Ensemble("scoring", ())])
    for _ in answers:
        await health._ask("scoring")
    return health


async def test_nothing_is_ready_before_a_canary_has_come_back_but_it_lives():
    health = await after()
    assert not health.is_ready
    assert health.is_alive


async def test_a_dead_process_is_neither_ready_nor_alive():
    health = await after(DEAD)
    assert not health.is_ready
    assert not health.is_alive
    assert health.deaths.startswith("scorer: Stub process 'scorer_0_0'")


async def test_once_dead_it_does_not_live_again_whatever_comes_after():
    health = await after(DEAD, TimeoutError())
    assert not health.is_alive


async def test_a_slow_or_failing_model_is_not_ready_but_alive():
    for trouble, words in ((TimeoutError(), "no answer in 30 s"), (ConnectionError(), "Triton cannot be reached")):
        health = await after(trouble)
        assert words in str(health.problems[0])
        assert health.is_alive


@pytest.mark.triton
@pytest.mark.parametrize("variant", ["bpe"], indirect=True, scope="session")
class TestServed:
    def test_a_shell_asks_for_it(self, scoring_server):
        port = scoring_server.metrics_url.rpartition(":")[2].removesuffix("/metrics")
        words = ["bash", HEALTHCHECK, "127.0.0.1"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PRAGMATIQ_")}
        assert subprocess.run([*words, port], env=environment, check=False).returncode == 0
        with socket.create_server(("127.0.0.1", 0)) as bad:
            threading.Thread(target=lambda: answer(bad), daemon=True).start()
            elsewhere = [*words, str(bad.getsockname()[1])]
            done = subprocess.run(elsewhere, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "not ready: scorer: dead\n")
        nothing = subprocess.run([*words, "1"], env=environment, capture_output=True, text=True, check=False)
        assert (nothing.returncode, "refused" in nothing.stderr) == (1, True)

    @pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
    @pytest.mark.parametrize("service", ["http", "metrics"])
    def test_it_is_told_on_both_ports(self, scoring_server, path, service):
        url = scoring_server.http_url if service == "http" else scoring_server.metrics_url[7:].removesuffix("/metrics")
        connection = http.client.HTTPConnection(url, timeout=20)
        connection.request("GET", path)
        assert connection.getresponse().status == 200
        connection.close()

    def test_grpcs_own_health_check_is_answered(self, scoring_server):
        with grpc.insecure_channel(scoring_server.grpc_url) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check", None, None)
            assert check(b"") == b"\x08\x01"
