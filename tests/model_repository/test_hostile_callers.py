"""Callers who mean harm, or send nonsense, beside others: no good request is lost or held up, and memory is bounded."""

import http.client
import json
import random
import threading
import time
from contextlib import contextmanager

import pytest

from bench.serving.processes import memory, stubs
from pragmatiq_client import InvalidRecordError, ScoringClient
from tests.conftest import RECORDS

pytestmark = pytest.mark.triton

SECONDS = 5.0
NOT_UTF8 = b'{"events":[],"x":"\xff"}'
EVENT = json.loads(RECORDS[3])["events"][0]


def bad_record(server, protocol):
    """Call with a record whose explanation meets a string that is not UTF-8."""
    refused = pytest.raises(InvalidRecordError, match=r"\$: object contains unknown field x")
    with ScoringClient(getattr(server, f"{protocol}_url"), protocol=protocol, timeout=60) as client, refused:
        client.score_one(NOT_UTF8)


def bad_tensor(server, _protocol):
    """Call with a BYTES tensor whose length prefix says more than there is."""
    header = {"name": "record", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 14}}
    body = json.dumps({"inputs": [header]}).encode()
    host, _, port = server.http_url.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request(
        "POST",
        "/v2/models/scoring/infer",
        body + (1_000).to_bytes(4, "little") + b"{}" * 5,
        {"Inference-Header-Content-Length": str(len(body))},
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status >= 400


@contextmanager
def callers(n, call, *args):
    """``n`` threads that call again and again; what one of them raised is raised at the end."""
    stopped, problems, counts = threading.Event(), [], [0] * n

    def run(number):
        while not stopped.is_set():
            try:
                call(*args)
            except BaseException as error:
                problems.append(error)
                return
            counts[number] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert problems == []


@pytest.mark.parametrize("hostile", [bad_record, bad_tensor])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_no_good_request_is_lost_beside_hostile_callers(server, hostile, protocol):
    def good():
        with ScoringClient(getattr(server, f"{protocol}_url"), protocol=protocol, timeout=60, retries=0) as client:
            for raw in RECORDS[:8]:
                client.score_one(raw)

    with callers(8, hostile, server, protocol) as n_hostile, callers(4, good) as n_good:
        time.sleep(SECONDS)
    assert all(n_hostile)
    assert all(n_good)


def test_bad_shapes_are_refused_and_reach_nobody(server):
    """What Triton or a stage refuses about the tensor itself, over HTTP as JSON."""
    host, _, port = server.http_url.rpartition(":")

    def status(shape, data, datatype="BYTES"):
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        tensor = {"name": "record", "shape": shape, "datatype": datatype, "data": data}
        connection.request("POST", "/v2/models/scoring/infer", json.dumps({"inputs": [tensor]}))
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    good = '{"events": []}'
    with callers(2, lambda: [assert_answered(status([1, 1], [good]))]) as n_good:
        for shape, data, datatype in (
            ([0, 1], [], "BYTES"),
            ([65, 1], [good] * 65, "BYTES"),
            ([1, 2], [good] * 2, "BYTES"),
            ([1], [good], "BYTES"),
            ([1, 1], [7], "INT32"),
            ([1, 1], [""], "BYTES"),
            ([2, 1], [good], "BYTES"),
        ):
            assert 400 <= status(shape, data, datatype) < 500, shape
    assert all(n_good)


def assert_answered(status):
    assert status == 200


def long_record(tag, n_strings):
    """Within all limits: strings of 16 kB, each different, without a space that BPE could lean on."""
    rng = random.Random(tag)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789 "
    events = [
        {**EVENT, "ts": EVENT["ts"] + i, "fields": {"merchant": "".join(rng.choices(letters, k=16_000))}}
        for i in range(n_strings)
    ]
    return json.dumps({"events": events}).encode()


def test_small_requests_are_answered_beside_a_caller_who_brings_long_strings(server):
    raw = long_record("beside", 400)
    ended, waits = {}, []

    def large():
        with ScoringClient(server.grpc_url, timeout=300) as client:
            client.score_one(raw)
        ended["large"] = True

    with ScoringClient(server.grpc_url, timeout=60) as client:
        client.score_one(RECORDS[0])
        caller = threading.Thread(target=large)
        caller.start()
        while caller.is_alive():
            started = time.monotonic()
            client.score_one(RECORDS[0])
            waits.append((time.monotonic() - started, "large" in ended))
        caller.join()
    assert ended == {"large": True}
    # In one piece the record would let one small request through, or two.
    assert sum(not after for _, after in waits) >= 5


@pytest.mark.slow
def test_memory_comes_back_after_eight_requests_of_a_thousand_long_strings(server):
    tokenizer = stubs(server.pid)["tokenizer"]
    with ScoringClient(server.grpc_url, timeout=600) as client:
        client.score_one(RECORDS[0])
        before = memory(tokenizer).rss
        for number in range(8):
            client.score_one(long_record(number, 1_000))
        time.sleep(2)
    # The caches may hold 128 MiB; a record's own memory is that of its JSON, a few times over, and is given back.
    assert memory(tokenizer).rss - before < 400 * 2**20
