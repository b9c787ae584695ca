"""What nobody waits for is not computed: cancelled, hung up, or past its deadline."""

import asyncio
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from pragmatiq_client import AsyncScoringClient, DeadlineExceededError, ScoringClient
from tests.conftest import RECORDS

pytestmark = pytest.mark.triton

LONG = 3_000
GIVE_UP = 12
BUSY = 4


def new_history(name, n_events):
    event = json.loads(RECORDS[3])["events"][0]
    fields = [{**event["fields"], "merchant": f"{name} NO {i}", "amount": f"{i}.99"} for i in range(n_events)]
    return json.dumps({"events": [{**event, "ts": event["ts"] + i, "fields": each} for i, each in enumerate(fields)]})


def counted(server, pattern):
    with urllib.request.urlopen(server.metrics_url) as page:
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", page.read().decode(), re.MULTILINE))


def given_up(server):
    return counted(server, r'pragmatiq_requests_total\{.*outcome="given_up".*\}')


def wait_for(condition):
    stop = time.monotonic() + 60
    while not (found := condition()) and time.monotonic() < stop:
        time.sleep(0.2)
    return found


@pytest.fixture
def busy(scoring_server):
    """Four callers with more than enough to do, for as long as a test goes on."""
    done = threading.Event()

    def call(number):
        with ScoringClient(scoring_server.grpc_url, timeout=120) as client:
            while not done.is_set():
                client.score_one(new_history(f"BUSY {number} {time.monotonic()}", LONG))

    with ThreadPoolExecutor(BUSY) as pool:
        callers = [pool.submit(call, number) for number in range(BUSY)]
        time.sleep(0.3)
        yield
        done.set()
        for caller in callers:
            caller.result()


async def test_what_callers_gave_up_over_grpc_is_not_computed(scoring_server, busy):
    before = given_up(scoring_server)
    async with AsyncScoringClient(scoring_server.grpc_url, timeout=120, retries=0) as client:
        calls = [asyncio.ensure_future(client.score_one(new_history(f"GRPC {i}", LONG))) for i in range(GIVE_UP)]
        await asyncio.sleep(0.3)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert wait_for(lambda: given_up(scoring_server) - before >= GIVE_UP / 3)


def test_what_a_caller_hung_up_on_over_http_is_not_computed(scoring_server, busy):
    before = given_up(scoring_server)
    host, _, port = scoring_server.http_url.partition(":")
    sockets = []
    for i in range(GIVE_UP):
        body = b'{"record": %b}' % new_history(f"HTTP {i}", LONG).encode()
        sockets.append(socket.create_connection((host, int(port))))
        sockets[-1].sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    time.sleep(0.3)
    for each in sockets:
        each.close()
    assert wait_for(lambda: given_up(scoring_server) - before >= GIVE_UP / 3)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_deadline_goes_along(scoring_server, busy, protocol):
    before = given_up(scoring_server)
    url = scoring_server.grpc_url if protocol == "grpc" else scoring_server.http_url

    def call(number):
        with ScoringClient(url, protocol=protocol, timeout=0.3, retries=0) as client:
            try:
                client.score_one(new_history(f"LATE {protocol} {number}", LONG))
            except DeadlineExceededError:
                return 1
        return 0

    with ThreadPoolExecutor(GIVE_UP) as pool:
        late = sum(pool.map(call, range(GIVE_UP)))
    assert late, "all were answered in time, so this tested nothing"
    assert wait_for(lambda: given_up(scoring_server) > before)


def test_the_header_of_a_time_limit_is_obeyed(scoring_server):
    body = b'{"record": %b}' % new_history("HEADER", 6_000).encode()
    request = urllib.request.Request(f"http://{scoring_server.http_url}/v1/score", body, {"x-timeout-ms": "20"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 504
    assert json.loads(caught.value.read())["error"]["code"] == "deadline_exceeded"
