"""More at once than a default server can soon do: everything is answered, and whoever gives up harms nobody."""

import asyncio
import json
import os
import random
import time

import pytest

from bench.serving.processes import stubs
from pragmatiq_client import AsyncScoringClient, DeadlineExceededError
from pragmatiq_triton.server import TritonServer
from tests.conftest import RECORDS

pytestmark = [pytest.mark.triton, pytest.mark.slow]

N_CALLERS = 64
N_EVENTS = 1_000
SECONDS = float(os.environ.get("PRAGMATIQ_HEAVY_LOAD_SECONDS", "600"))
"""How long the crowds of mixed lengths call; two crowds, of each variant."""


@pytest.fixture(scope="module")
def server(repository):
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


def new_history(name, n_events=N_EVENTS):
    """A record of events that nobody has sent before, each unlike the others."""
    event = json.loads(RECORDS[3])["events"][0]
    fields = [{**event["fields"], "merchant": f"{name} NO {i}", "amount": f"{i}.99"} for i in range(n_events)]
    return json.dumps({"events": [{**event, "ts": event["ts"] + i, "fields": each} for i, each in enumerate(fields)]})


async def all_at_once(server, name, timeout):
    """What each of the callers gets, an answer or an error."""
    clients = [AsyncScoringClient(server.grpc_url, timeout=timeout, retries=0) for _ in range(N_CALLERS)]
    records = [new_history(f"{name} {caller}") for caller in range(N_CALLERS)]
    try:
        calls = (client.score_one(record) for client, record in zip(clients, records, strict=True))
        return await asyncio.gather(*calls, return_exceptions=True)
    finally:
        await asyncio.gather(*(client.close() for client in clients))


async def test_many_callers_with_long_new_histories_are_all_answered(server):
    before = stubs(server.pid)
    answers = await all_at_once(server, "ANSWERED", timeout=80)
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    assert stubs(server.pid) == before


async def test_callers_that_give_up_harm_nobody(server):
    before = stubs(server.pid)
    answers = await all_at_once(server, "GIVEN UP", timeout=0.5)
    given_up = [answer for answer in answers if isinstance(answer, DeadlineExceededError)]
    assert len(given_up) > N_CALLERS / 2, "most were answered in time, so this tested nothing"
    async with AsyncScoringClient(server.grpc_url, timeout=60) as client:
        await client.score_one(RECORDS[0])
    assert stubs(server.pid) == before


@pytest.mark.parametrize("n_callers", [100, 200])
async def test_crowds_of_mixed_lengths_are_served_for_ten_minutes(server, n_callers):
    """Of the calls 15 % bring 1,000 to 6,500 new events: on a counter that went back the tokenizer died within one."""
    before, stop = stubs(server.pid), time.monotonic() + SECONDS
    answered, problems = [0] * n_callers, []

    async def caller(number):
        rng = random.Random(number)
        async with AsyncScoringClient(server.grpc_url, timeout=max(600, 2 * SECONDS), retries=0) as client:
            while time.monotonic() < stop:
                is_long = rng.random() < 0.15
                name = f"CROWD {number} {answered[number]} OF {n_callers}"
                raw = new_history(name, rng.randint(1_000, 6_500)) if is_long else rng.choice(RECORDS)
                try:
                    await client.score_one(raw)
                except Exception as error:
                    problems.append(error)
                    return
                answered[number] += 1

    await asyncio.gather(*map(caller, range(n_callers)))
    assert problems == []
    assert stubs(server.pid) == before
    assert all(answered)
