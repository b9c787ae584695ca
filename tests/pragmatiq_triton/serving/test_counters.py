"""No counter ever goes back, whenever another thread reads it: Triton 2.51's stub dies on a negative increment."""

import json
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import pragmatiq_triton
from pragmatiq_triton.serving.embedding import TextEmbedderStage
from pragmatiq_triton.serving.metrics import METRICS
from pragmatiq_triton.serving.scoring import ScorerStage
from pragmatiq_triton.serving.tokenizing import TokenizerStage
from tests.conftest import RECORDS

OURS = next(iter(pragmatiq_triton.__path__))
FALLBACK = b'{"events": [], "events": []}'


class Watch:
    """Notes each counter's last value, and each fall."""

    def __init__(self):
        self.stage = None
        self.last = {}
        self.falls = set()
        self.n_reads = 0
        self._reading = threading.Lock()

    def read(self):
        # One reader at a time, so that what comes later was read later.
        with self._reading:
            stage = self.stage
            if stage is None:
                return
            self.n_reads += 1
            for name, value, labels in stage.samples():
                series = (name, *labels.items())
                if METRICS[name].kind == "counter" and not value >= self.last.get(series, 0):
                    self.falls.add(series)
                self.last[series] = value

    def trace(self, frame, event, arg):
        """A trace function: reads after every line of ours."""
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        self.read()
        return self.trace

    @contextmanager
    def at_every_line(self):
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)

    @contextmanager
    def from_another_thread(self):
        done = threading.Event()

        def run():
            while not done.is_set():
                self.read()

        reader = threading.Thread(target=run)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        reader.start()
        try:
            yield
        finally:
            done.set()
            reader.join()
            sys.setswitchinterval(interval)


def requests(tag):
    """Known and new events, new spellings, several users, a record read whole, a refused one."""
    event = json.loads(RECORDS[3])["events"][0]
    new = [{**event, "fields": {**event["fields"], "merchant": f"SHOP {tag} {i}", "amount": i}} for i in range(8)]
    long = json.dumps({"events": [*new, *new[:3]], "attributes": {"a": tag}}).encode()
    raws = [[RECORDS[2]], [long, RECORDS[1]], [FALLBACK], [b"{}"], [RECORDS[2], RECORDS[2]], [long]]
    return [{"record": np.array(each, object).reshape(-1, 1)} for each in raws]


def run_stage(name, repository, arrays, watch):
    """Load a stage with caches that give way all the time, and answer each request; returns what follows on it."""
    folder = repository / name / "1"
    small = {
        "tokenizer": {"record_cache_bytes": "12000"},
        "text_embedder": {"text_cache_bytes": "5000", "threads": "2"},
        "scorer": {"event_cache_bytes": "10000", "threads": "2"},
    }
    kinds = {"tokenizer": TokenizerStage, "text_embedder": TextEmbedderStage, "scorer": ScorerStage}
    stage = kinds[name].load(folder, small[name])
    watch.stage = stage
    answers = [answer for each in arrays for answer in stage([each])]
    watch.stage = None
    stage.close()
    return [{**given, **answer} for given, answer in zip(arrays, answers, strict=True) if isinstance(answer, dict)]


@pytest.mark.parametrize("way", ["at_every_line", "from_another_thread"])
def test_no_counter_of_any_stage_ever_goes_back(repository, variant, way):
    n_rounds = {"at_every_line": 1, "from_another_thread": 15}[way]
    arrays = [request for tag in range(n_rounds) for request in requests(tag)]
    stages = ("tokenizer", *(["text_embedder"] if variant == "embed" else []), "scorer")
    for name in stages:
        watch = Watch()
        with getattr(watch, way)():
            arrays = run_stage(name, repository, arrays, watch)
        assert watch.falls == set(), name
        assert watch.n_reads > 20
        moved = {series[0] for series, value in watch.last.items() if value}
        caches = {"pragmatiq_cache_hits_total", "pragmatiq_cache_misses_total"}
        assert caches | {"pragmatiq_stage_seconds_total", "pragmatiq_stage_runs_total"} <= moved, name
