"""Thousands of requests that mean harm: nothing dies, nothing is told, nothing malformed reaches Triton.

A few hundred of each protocol run always; ``pytest -m slow`` sends 20,000 (HOSTILE_SEED, by default 7, chooses which).
"""

import os
import random
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from bench.serving.processes import memory
from pragmatiq_client import ScoringClient
from pragmatiq_triton.gateway.limits import Limits
from pragmatiq_triton.gateway.policy import GatewayPolicy
from tests.conftest import RECORDS
from tests.pragmatiq_triton.gateway import hostile_grpc, hostile_http
from tests.pragmatiq_triton.gateway.witness import Witness

pytestmark = [pytest.mark.triton, pytest.mark.parametrize("variant", ["bpe"], indirect=True, scope="session")]

SEED = int(os.environ.get("HOSTILE_SEED", "7"))
THREADS = 8
AMOUNTS = [pytest.param(400, id="some"), pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
TOLD = re.compile(
    rb"Traceback|File \"|site-packages|/(work|tmp|usr|home|root|opt|dev|proc)/|pragmatiq_triton\.|0x[0-9a-f]{8}"
)
FINE = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED}  # fmt: skip


@pytest.fixture(scope="module")
def witness(server):
    watching = Witness(server.http_url)
    yield watching
    watching.close()


@pytest.fixture(scope="module")
def attacked(start_gateway, witness):
    # Whoever does not finish its request is not waited for long.
    return start_gateway(
        GatewayPolicy(limits=Limits(header_seconds=1, body_seconds=1, idle_seconds=2)), triton=witness.address
    )


@pytest.fixture(scope="module")
def expected(server):
    with ScoringClient(server.grpc_url) as client:
        return client.score(RECORDS[:8])


@pytest.fixture
def unharmed(attacked, server, witness, expected):
    """What has to be so after an attack, whatever it was."""
    pid = attacked.process.process.pid
    before = {process: memory(process).rss for process in (pid, server.pid)}
    descriptors = open_descriptors(pid)
    yield
    for protocol in ("http", "grpc"):
        with ScoringClient(getattr(attacked, f"{protocol}_url"), protocol=protocol, timeout=60) as client:
            for answer, wanted in zip(client.score(RECORDS[:8]), expected, strict=True):
                np.testing.assert_allclose(answer.embedding, wanted.embedding, atol=1e-6)
    assert attacked.process.process.poll() is None
    assert server.poll() is None
    assert witness.problems == []
    assert witness.seen > 0
    assert "failed in the gateway" not in attacked.log, attacked.log[-3000:]
    assert "Traceback" not in attacked.log, attacked.log[-3000:]
    for process, was in before.items():
        assert memory(process).rss - was < 400 * 1024 * 1024
    give_up = time.monotonic() + 20
    while open_descriptors(pid) > descriptors + 300 and time.monotonic() < give_up:
        time.sleep(0.2)
    assert open_descriptors(pid) <= descriptors + 300


def open_descriptors(pid):
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def attack(kinds, amount, send):
    """Make and send ``amount`` requests of all kinds, in threads; what came of each kind, counted."""
    makers = list(kinds)

    def one(number):
        dice = random.Random(f"{SEED} {number}")
        [make] = dice.choices(makers, [kinds[each] for each in makers])
        return make.__name__, send(make(dice))

    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = Counter(pool.map(one, range(amount)))
    assert {kind for kind, _ in outcomes} == {make.__name__ for make in makers}
    assert outcomes.total() == amount
    return outcomes


@pytest.mark.parametrize("amount", AMOUNTS)
def test_http(attacked, unharmed, amount):
    def send(data):
        """The status of the first answer, or how the connection ended."""
        with socket.create_connection(("127.0.0.1", attacked.ports[0]), timeout=20) as connection:
            try:
                connection.sendall(data)
                answer = connection.recv(1 << 16)
                connection.shutdown(socket.SHUT_WR)  # an answer has begun, or the connection has ended
                while len(answer) < 1 << 20 and (piece := connection.recv(1 << 16)):
                    answer += piece
            except TimeoutError:
                raise AssertionError(f"neither an answer nor an end in 20 s: {data[:300]!r}") from None
            except OSError as error:
                return type(error).__name__
        assert not (told := TOLD.search(answer)), (told, data[:300], answer[:600])
        status = re.match(rb"HTTP/1\.[01] (\d+)", answer)
        assert status or not answer, (data[:300], answer[:300])
        assert not status or status[1] not in (b"500", b"503"), (data[:300], answer[:600])
        return int(status[1]) if status else "closed"

    attack(hostile_http.KINDS, amount, send)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_grpc(attacked, unharmed, amount):
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(attacked.grpc_url, options=options) as channel:

        def send(call):
            method, body = call
            ask = channel.unary_unary(method, None, None)
            try:
                ask(body, timeout=20)
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
            else:
                return "OK"
            assert not (told := TOLD.search(details.encode())), (told, method, body[:300], details)
            assert code in FINE, (method, body[:300], code, details)
            return code.name

        attack(hostile_grpc.KINDS, amount, send)


def test_compressed_messages_are_refused_before_they_grow(attacked, unharmed):
    with grpc.insecure_channel(attacked.grpc_url, options=[("grpc.max_send_message_length", -1)]) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as refused:
                ask(bytes(60 * 1024 * 1024), timeout=60, compression=grpc.Compression.Gzip)
            assert refused.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL)
