"""Callers that are slow, silent or gone beside good ones: nobody within its limits is lost, nothing is left behind."""

import random
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from bench.serving.processes import memory
from pragmatiq_client import ScoringClient
from pragmatiq_triton.gateway.limits import Limits
from pragmatiq_triton.gateway.policy import GatewayPolicy
from tests.conftest import RECORDS
from tests.pragmatiq_triton.gateway.test_giving_up import new_history

pytestmark = [pytest.mark.triton, pytest.mark.parametrize("variant", ["bpe"], indirect=True, scope="session")]

SLOW = 150
BODY = b'{"record": {"events": []}}'
HEAD = b"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(BODY)


@pytest.fixture(scope="module")
def impatient(start_gateway):
    limits = Limits(header_seconds=2, body_seconds=2, idle_seconds=3, max_connections=600)
    return start_gateway(GatewayPolicy(limits=limits))


def drip(port, data, until):
    """Send a byte every tenth of a second until the other side ends the connection; how long that took."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, suppress(OSError):
        for byte in data:
            connection.sendall(bytes([byte]))
            if until.wait(0.1):
                break
        connection.recv(1000)
    return time.monotonic() - began


def test_a_grpc_message_that_does_not_come_is_given_up(impatient):
    done = threading.Event()

    def nothing():
        done.wait(20)
        yield b""

    with grpc.insecure_channel(impatient.grpc_url) as channel:
        ask = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            ask(nothing(), timeout=15)
        done.set()
        assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert refused.value.details() == "the request did not arrive in time"


@pytest.mark.parametrize(
    "data",
    [HEAD + b"x: " + b"y" * 500, HEAD + b"\r\n" + b" " * 25, b"\r\n" * 500, b""],
    ids=["headers", "body", "lines", "silence"],
)
def test_slow_callers_are_ended_and_good_ones_answered_meanwhile(impatient, data):
    done = threading.Event()
    pid = impatient.process.process.pid
    before = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    with ThreadPoolExecutor(SLOW) as pool, ScoringClient(impatient.grpc_url, timeout=30) as client:
        slow = [pool.submit(drip, impatient.ports[0], data, done) for _ in range(SLOW)]
        while not all(each.done() for each in slow):
            assert len(client.score_one(RECORDS[0]).embedding) > 0
            with ScoringClient(impatient.http_url, protocol="http", timeout=30) as over_http:
                assert len(over_http.score_one(RECORDS[0]).embedding) > 0
        assert max(each.result() for each in slow) < 15
    give_up = time.monotonic() + 20
    while len(list(Path(f"/proc/{pid}/fd").iterdir())) > before + 20 and time.monotonic() < give_up:
        time.sleep(0.2)
    assert len(list(Path(f"/proc/{pid}/fd").iterdir())) <= before + 20


@pytest.mark.parametrize(
    "seconds", [pytest.param(10, id="short"), pytest.param(180, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_crowd_half_of_which_gives_up_loses_no_other_caller(start_gateway, server, seconds):
    """200 callers of mixed lengths, half of them cancelling."""
    gateway = start_gateway(GatewayPolicy())
    pid = gateway.process.process.pid
    outcomes = Counter()
    stop = time.monotonic() + seconds
    lengths = (1, 4, 16, 64, 256)

    def call(number):
        dice = random.Random(number)
        protocol = "http" if number % 4 < 2 else "grpc"
        url = gateway.http_url if protocol == "http" else gateway.grpc_url
        gives_up = number % 2 == 0
        found = Counter()
        with ScoringClient(url, protocol=protocol, timeout=120, retries=0) as client:
            while time.monotonic() < stop:
                record = new_history(f"{number} {dice.random()}", dice.choice(lengths))
                try:
                    client.score_one(record, timeout=dice.uniform(0.005, 0.2) if gives_up else 120)
                except Exception as error:
                    # The word alone would not say what was lost: a refused connection, a full queue, a dead model.
                    found[gives_up, type(error).__name__ if gives_up else str(error)] += 1
                else:
                    found[gives_up, "answered"] += 1
        return found

    def once():
        with ThreadPoolExecutor(200) as pool:
            for found in pool.map(call, range(200)):
                outcomes.update(found)

    once()
    settled = {process: memory(process).rss for process in (pid, server.pid)}
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    stop = time.monotonic() + seconds
    once()
    lost = {kind: count for (gives_up, kind), count in outcomes.items() if not gives_up and kind != "answered"}
    assert lost == {}, outcomes
    assert outcomes[False, "answered"] > 100
    assert sum(count for (gives_up, kind), count in outcomes.items() if gives_up and kind != "answered") > 20
    for process, was in settled.items():
        assert memory(process).rss - was < 150 * 1024 * 1024
    assert len(list(Path(f"/proc/{pid}/fd").iterdir())) <= descriptors + 50
    with ScoringClient(gateway.grpc_url, timeout=60) as client:
        assert len(client.score_one(RECORDS[0]).embedding) > 0
