"""The caches on the real tritonserver: the same answers whatever is kept, and the counters that say so."""

import json
import re
import shutil
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pragmatiq_client import ScoringClient
from pragmatiq_triton.server import TritonServer
from tests.conftest import RECORDS, UPSTREAM

pytestmark = pytest.mark.triton

CACHES = {"tokenizer": "record_cache_bytes", "text_embedder": "text_cache_bytes", "scorer": "event_cache_bytes"}


def with_caches(repository, out, n_bytes):
    """A copy of the repository whose caches may hold ``n_bytes`` each."""
    shutil.copytree(repository, out)
    for model, parameter in CACHES.items():
        config = out / model / "config.pbtxt"
        if config.exists():
            text = config.read_text(encoding="utf-8")
            pattern = rf'(key: "{parameter}"\s+value {{\s+string_value: )"\d+"'
            text, n = re.subn(pattern, rf'\g<1>"{n_bytes}"', text)
            assert n == 1, f"{model} has no parameter {parameter}"
            config.write_text(text, encoding="utf-8")
    return out


@pytest.fixture(scope="module", params=[0, 20_000])
def bounded_server(request, repository, tmp_path_factory):
    """Caches off, and so small that they evict all the time."""
    folder = with_caches(repository, tmp_path_factory.mktemp("caches") / str(request.param), request.param)
    with TritonServer(folder, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running, request.param


def counted(server, name, **labels):
    """The sum of a metric over its series with these labels, once nothing is under way."""
    time.sleep(1.2)  # the models hand over their counts once a second
    with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(
        float(line.split()[-1])
        for line in lines
        if line.startswith(f"{name}{{") and all(each in line for each in wanted)
    )


def expected(variant):
    return np.load(UPSTREAM / variant / "embeddings.npy")


@pytest.mark.parametrize("name", ["first", "again"])
def test_answers_do_not_depend_on_what_is_kept(bounded_server, variant, name):
    server, _ = bounded_server
    with ScoringClient(server.grpc_url, timeout=60) as client:
        answers = [client.score_one(raw).embedding for raw in RECORDS]
    np.testing.assert_allclose(answers, expected(variant), rtol=0, atol=1e-5)


def test_a_known_history_is_not_encoded_again(server, variant):
    with ScoringClient(server.grpc_url, timeout=60) as client:
        first = client.score_one(RECORDS[3]).embedding
        missed = {name: counted(server, "pragmatiq_cache_misses_total", cache=name) for name in ("events", "records")}
        hits = counted(server, "pragmatiq_cache_hits_total", cache="events")
        again = client.score_one(RECORDS[3]).embedding
    np.testing.assert_allclose(again, first, rtol=0, atol=1e-6)
    for name, misses in missed.items():
        assert counted(server, "pragmatiq_cache_misses_total", cache=name) == misses
    n_events = len(json.loads(RECORDS[3])["events"])
    assert counted(server, "pragmatiq_cache_hits_total", cache="events") == hits + n_events


def test_many_callers_of_few_customers_while_the_caches_evict(bounded_server, variant):
    server, n_bytes = bounded_server
    right = expected(variant)
    rng = np.random.default_rng(0)

    def call(rows):
        with ScoringClient(server.grpc_url, timeout=60) as client:
            return [(row, client.score_one(RECORDS[row]).embedding) for row in rows]

    with ThreadPoolExecutor(32) as pool:
        answers = [each for part in pool.map(call, rng.integers(0, len(RECORDS), (32, 12))) for each in part]
    for row, embedding in answers:
        np.testing.assert_allclose(embedding, right[row], rtol=0, atol=1e-5)
    evictions = counted(server, "pragmatiq_cache_evictions_total", cache="events")
    assert evictions > 0 if n_bytes else evictions == 0
    assert counted(server, "pragmatiq_cache_bytes") <= 3 * n_bytes


def test_a_caller_with_a_long_new_history_does_not_hold_up_the_others(server):
    """Small requests that come after a large one are answered before it."""
    event = json.loads(RECORDS[3])["events"][0]
    # Thousands of events whose contents all differ.
    events = [
        {**event, "ts": event["ts"] + i, "fields": {**event["fields"], "merchant": f"SHOP {i} NO {i * 7919}", "n": i}}
        for i in range(4_000)
    ]
    ended = {}

    def call(name, raw):
        with ScoringClient(server.grpc_url, timeout=60) as client:
            client.score_one(raw)
        ended[name] = time.monotonic()

    with ThreadPoolExecutor(9) as pool:
        pool.submit(call, "large", json.dumps({"events": events}))
        time.sleep(0.15)
        for i in range(8):
            pool.submit(call, i, RECORDS[i])
    assert max(ended[i] for i in range(8)) < ended["large"]


def test_every_stage_counts_its_time(server):
    with ScoringClient(server.grpc_url, timeout=60) as client:
        client.score(RECORDS[:4])
    for model, stages in {
        "tokenizer": ("read", "tokenize", "pack"),
        "scorer": ("lookup", "queue", "events", "history", "reply"),
    }.items():
        for stage in stages:
            assert counted(server, "pragmatiq_stage_runs_total", model=model, stage=stage) > 0
    assert counted(server, "pragmatiq_stage_seconds_total", model="scorer", stage="history") > 0
