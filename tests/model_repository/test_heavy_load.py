"""More at once than a default server can soon do: everything is answered, and whoever gives up harms nobody."""

import asyncio
import json

import pytest

from bench.serving.processes import stubs
from pragmatiq_client import AsyncScoringClient, DeadlineExceededError
from pragmatiq_triton.embedded import TritonServer
from tests.conftest import RECORDS

pytestmark = [pytest.mark.triton, pytest.mark.slow]

N_CALLERS = 64
N_EVENTS = 1_000


@pytest.fixture(scope="module")
def server(repository):
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


def new_history(name):
    """A record of events that nobody has sent before, each unlike the others."""
    event = json.loads(RECORDS[3])["events"][0]
    fields = [{**event["fields"], "merchant": f"{name} NO {i}", "amount": f"{i}.99"} for i in range(N_EVENTS)]
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
