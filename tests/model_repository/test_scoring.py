"""The ensemble on the real tritonserver: the right numbers, whoever else is being answered."""

import asyncio
import json
import time

import numpy as np
import pytest

from pragmatiq_client import AsyncScoringClient
from tests.conftest import RECORDS, UPSTREAM

pytestmark = pytest.mark.triton

BASE = json.loads(RECORDS[11])


EARLY = 31_536_000_000_000
"""The first moment of 1971."""


def odd(**changes):
    return json.dumps({**BASE, **changes}).encode()


def with_field(key, value):
    events = json.loads(json.dumps(BASE["events"]))
    events[1]["fields"][key] = value
    return odd(events=events)


def long_history(n_events):
    return odd(events=[{**BASE["events"][i % 6], "ts": 1_700_000_000_000_000 + i * 1_000_000} for i in range(n_events)])


def test_upstream_records_get_upstream_embeddings(client, variant):
    expected = np.load(UPSTREAM / variant / "embeddings.npy")
    answers = [client.score_one(raw) for raw in RECORDS]
    np.testing.assert_allclose([answer.embedding for answer in answers], expected, rtol=0, atol=1e-5)
    assert all(answer.scores == {} for answer in answers)


def test_a_user_is_the_same_alone_and_among_eight(client):
    alone = [client.score_one(raw).embedding for raw in RECORDS]
    together = client.score(RECORDS[:8])
    np.testing.assert_allclose([answer.embedding for answer in together], alone[:8], rtol=0, atol=1e-6)
    in_batches = client.score(RECORDS)
    np.testing.assert_allclose([answer.embedding for answer in in_batches], alone, rtol=0, atol=1e-6)


async def test_a_user_is_the_same_in_a_dynamic_batch_with_strangers(server, variant, metric):
    expected = np.load(UPSTREAM / variant / "embeddings.npy")
    requests, executions = (metric(f"nv_inference_{name}", "scorer") for name in ("request_success", "exec_count"))
    client = AsyncScoringClient(server.grpc_url, timeout=60)
    try:
        # One long history keeps the models busy while the others queue up behind it.
        busy = asyncio.create_task(client.score_one(long_history(6_500)))
        await asyncio.sleep(0.02)
        rows = [row for _ in range(8) for row in range(len(RECORDS))]
        answers = await asyncio.gather(*(client.score_one(RECORDS[row]) for row in rows))
        await busy
    finally:
        await client.close()
    got = np.stack([answer.embedding for answer in answers])
    np.testing.assert_allclose(got, expected[rows], rtol=0, atol=1e-5)
    for row in range(len(RECORDS)):
        same = got[[i for i, each in enumerate(rows) if each == row]]
        np.testing.assert_allclose(same, same[:1].repeat(len(same), 0), rtol=0, atol=1e-6)
    # The server counts a request a moment after it has answered it.
    give_up = time.monotonic() + 10
    while (n_requests := metric("nv_inference_request_success", "scorer") - requests) <= len(rows):
        assert time.monotonic() < give_up, n_requests
        await asyncio.sleep(0.05)
    n_executions = metric("nv_inference_exec_count", "scorer") - executions
    # Canaries of the gateway's may be among them.
    assert n_requests >= len(rows) + 1
    assert n_executions < n_requests, "no two requests were answered together, so this tested nothing"


ODD_RECORDS = {
    "born in 1955": odd(lifelong=[{"key": "account_opened", "ts": -473_385_600_000_000}]),
    "nothing at all": b'{"events": []}',
    "no events, a milestone": b'{"events": [], "lifelong": [{"key": "account_opened", "ts": 1693303200000000}]}',
    "no profile": odd(attributes={}, lifelong=[]),
    "unseen key": with_field("colour_of_the_sky", "blue"),
    "unseen value": with_field("os", "beos"),
    "unseen source": odd(events=[{**BASE["events"][0], "source": "pigeon"}]),
    "unseen everything": odd(events=[{"ts": EARLY + 5, "source": "x", "fields": {"y": "z"}}], attributes={"k": "v"}),
    "number as text": with_field("amount", " 12 "),
    "not a number": with_field("amount", "nan"),
    "infinite": with_field("amount", "-inf"),
    "huge": with_field("amount", 1e300),
    "true": with_field("amount", True),
    "null": with_field("merchant", None),
    "empty string": with_field("merchant", ""),
    "300 characters": with_field("merchant", "x" * 300),
    "not ASCII": with_field("merchant", "É€ ÇA VA 日本 🍕"),
    "NUL inside and at the end": with_field("merchant", "a\0b\0"),
    "long event": odd(events=[{"ts": EARLY + 1, "source": "app", "fields": {f"k{i}": i for i in range(60)}}]),
    "out of order": odd(events=BASE["events"][::-1]),
    "same time": odd(events=[{**event, "ts": EARLY + 7} for event in BASE["events"]]),
    "first microsecond": odd(events=[{**event, "ts": EARLY} for event in BASE["events"]]),
    "as_of before everything": odd(as_of=EARLY, lifelong=[{"key": "kyc_passed", "ts": 1693382401545387}]),
    "long profile": odd(attributes={f"a{i:03}": "1" for i in range(400)}),
    "6,501 events": long_history(6_501),
}


@pytest.mark.parametrize("name", ODD_RECORDS)
def test_odd_records_are_answered_as_the_network_says(client, offline, name):
    raw = ODD_RECORDS[name]
    np.testing.assert_allclose(client.score_one(raw).embedding, offline(raw), rtol=0, atol=1e-5)


def test_the_6501st_event_back_is_not_seen(client):
    longer = json.loads(long_history(6_501))
    newest = json.dumps({**longer, "events": longer["events"][1:]})
    np.testing.assert_array_equal(client.score_one(json.dumps(longer)).embedding, client.score_one(newest).embedding)
