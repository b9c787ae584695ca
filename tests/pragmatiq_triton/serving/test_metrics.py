import gc
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pytest

from pragmatiq_triton.cache.vectors import VectorCache
from pragmatiq_triton.serving import metrics
from pragmatiq_triton.serving.metrics import METRICS, MetricsPublisher, Sample, cache_samples, time_samples

HITS, ENTRIES, EVENTS = "pragmatiq_cache_hits_total", "pragmatiq_cache_entries", "pragmatiq_events_total"


class FakeMetric:
    def __init__(self, server: "FakeServer", kind: str, series: tuple[str, frozenset[tuple[str, str]]]) -> None:
        self.server, self.kind, self.series = server, kind, series

    def increment(self, value: float) -> None:
        assert self.kind == "COUNTER"
        assert value > 0
        self.server.update("increment", self.series, value)
        self.server.values[self.series] += value

    def set(self, value: float) -> None:
        assert self.kind == "GAUGE"
        self.server.update("set", self.series, value)
        self.server.values[self.series] = value


class FakeServer:
    """In place of ``triton_python_backend_utils``: takes updates until it stops."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self.updates: list[tuple[str, str, float]] = []
        self.families: list[str] = []
        self.refused = threading.Semaphore(0)
        self.stopping = False
        server = self

        class MetricFamily:
            COUNTER, GAUGE = "COUNTER", "GAUGE"

            def __init__(self, name: str, description: str, kind: str) -> None:
                assert name not in server.families
                assert (description, kind.lower()) == (METRICS[name].help, METRICS[name].kind)
                server.families.append(name)
                self.name, self.kind = name, kind

            def Metric(self, labels: Mapping[str, str]) -> FakeMetric:
                series = (self.name, frozenset(labels.items()))
                assert series not in server.values
                server.values[series] = 0.0
                return FakeMetric(server, self.kind, series)

        self.MetricFamily = MetricFamily

    def update(self, what: str, series: tuple[str, frozenset[tuple[str, str]]], value: float) -> None:
        if self.stopping:
            self.refused.release()
            raise RuntimeError("the server is stopping")
        self.updates.append((what, series[0], value))

    def value(self, name: str, **labels: str) -> float:
        return self.values[name, frozenset({"model": "scorer", **labels}.items())]


class Counted:
    """What a stage has counted so far."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def __call__(self) -> Iterable[Sample]:
        return iter(self.samples)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def publisher(server: FakeServer, counted: Counted) -> MetricsPublisher:
    return MetricsPublisher(server, "scorer", counted)


def test_counters_grow_by_the_difference_and_gauges_are_set(
    server: FakeServer, counted: Counted, publisher: MetricsPublisher
) -> None:
    for hits, entries in ((3, 5), (3, 5), (10, 2)):
        counted.samples = [Sample(HITS, hits, {"cache": "events"}), Sample(ENTRIES, entries, {"cache": "events"})]
        publisher.publish()
    assert server.updates == [
        ("increment", HITS, 3),
        ("set", ENTRIES, 5),
        ("increment", HITS, 7),
        ("set", ENTRIES, 2),
    ]
    assert (server.value(HITS, cache="events"), server.value(ENTRIES, cache="events")) == (10, 2)


def test_a_metric_is_there_before_it_counts(server: FakeServer, counted: Counted, publisher: MetricsPublisher) -> None:
    counted.samples = [Sample(EVENTS, 0)]
    publisher.publish()
    assert server.value(EVENTS) == 0
    assert server.updates == []


def test_a_family_is_made_once_for_all_its_series(
    server: FakeServer, counted: Counted, publisher: MetricsPublisher
) -> None:
    for total in (1, 4):
        counted.samples = [Sample(HITS, total, {"cache": "events"}), Sample(HITS, 2 * total, {"cache": "texts"})]
        publisher.publish()
    assert server.families == [HITS]
    assert (server.value(HITS, cache="events"), server.value(HITS, cache="texts")) == (4, 8)


def test_a_gauge_may_fall_to_nothing(server: FakeServer, counted: Counted, publisher: MetricsPublisher) -> None:
    for entries in (4, 0):
        counted.samples = [Sample(ENTRIES, entries, {"cache": "events"})]
        publisher.publish()
    assert server.value(ENTRIES, cache="events") == 0


@pytest.mark.parametrize("back", [7.0, -1.0, float("nan"), float("inf"), -float("inf")])
def test_a_counter_that_went_back_stays_and_is_named_once(
    server: FakeServer,
    counted: Counted,
    publisher: MetricsPublisher,
    caplog: pytest.LogCaptureFixture,
    back: float,
) -> None:
    for total in (10.0, back, back, 12.0):
        counted.samples = [Sample(HITS, total, {"cache": "records"}), Sample(EVENTS, total)]
        publisher.publish()
    assert [update for update in server.updates if update[1] == HITS] == [
        ("increment", HITS, 10),
        ("increment", HITS, 2),
    ]
    assert (server.value(HITS, cache="records"), server.value(EVENTS)) == (12, 12)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert f"{HITS}{{'cache': 'records'}}: a counter went from 10.0 to {back}" in told[0]
    assert EVENTS in told[1]


def test_what_the_server_did_not_take_comes_with_the_next(
    server: FakeServer, counted: Counted, publisher: MetricsPublisher
) -> None:
    counted.samples = [Sample(EVENTS, 5)]
    server.stopping = True
    with pytest.raises(RuntimeError, match="stopping"):
        publisher.publish()
    server.stopping = False
    counted.samples = [Sample(EVENTS, 6)]
    publisher.publish()
    assert server.value(EVENTS) == 6


def test_what_is_counted_is_published_at_the_start_and_at_the_end(
    server: FakeServer, counted: Counted, publisher: MetricsPublisher
) -> None:
    counted.samples = [Sample(EVENTS, 1)]
    publisher.start()
    assert server.value(EVENTS) == 1
    counted.samples = [Sample(EVENTS, 3)]
    publisher.stop()
    assert server.value(EVENTS) == 3
    assert not publisher._thread.is_alive()


def test_no_metric_outlives_its_model(server: FakeServer, counted: Counted, publisher: MetricsPublisher) -> None:
    """Triton's stub crashes at its end when one does."""
    made: list[weakref.ref[FakeMetric]] = []
    create = server.MetricFamily.Metric

    def create_and_watch(family: Any, labels: Mapping[str, str]) -> FakeMetric:
        metric = create(family, labels)
        made.append(weakref.ref(metric))
        return metric

    server.MetricFamily.Metric = create_and_watch  # type: ignore[method-assign]
    counted.samples = [Sample(EVENTS, 1), Sample(ENTRIES, 2, {"cache": "events"})]
    publisher.start()
    assert all(metric() for metric in made)
    publisher.stop()
    gc.collect()
    assert [metric() for metric in made] == [None, None]


def test_what_is_counted_is_published_once_a_period(
    server: FakeServer, counted: Counted, publisher: MetricsPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "PERIOD_SECONDS", 0.001)
    published = threading.Event()
    update = server.update

    def seen(*args: Any) -> None:
        update(*args)
        published.set()

    monkeypatch.setattr(server, "update", seen)
    publisher.start()
    counted.samples = [Sample(EVENTS, 2)]
    assert published.wait(30)
    publisher.stop()
    assert server.value(EVENTS) == 2


def test_a_stopping_server_is_no_error(
    server: FakeServer,
    counted: Counted,
    publisher: MetricsPublisher,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(metrics, "PERIOD_SECONDS", 0.001)
    publisher.start()
    server.stopping = True
    counted.samples = [Sample(EVENTS, 2)]
    for _ in range(3):
        assert server.refused.acquire(timeout=30)
    publisher.stop()
    assert not publisher._thread.is_alive()
    assert capfd.readouterr().err == ""


def test_what_there_is_to_say_of_a_cache() -> None:
    cache = VectorCache(2, 3 * 300)
    keys = np.arange(8, dtype=np.uint64).reshape(4, 2)
    cache.put(keys[:3], np.zeros((3, 2), np.float32))
    cache.take(keys[[0, 0, 3]], np.zeros((3, 2), np.float32))
    cache.put(keys[3:], np.zeros((1, 2), np.float32))
    samples = cache_samples("events", cache)
    assert {sample.name for sample in samples} == {name for name in METRICS if name.startswith("pragmatiq_cache_")}
    assert all(sample.labels == {"cache": "events"} for sample in samples)
    values = {sample.name.removeprefix("pragmatiq_cache_"): sample.value for sample in samples}
    assert values.pop("bytes") == cache.n_bytes
    assert values == {"hits_total": 2, "misses_total": 1, "evictions_total": 1, "entries": 3, "capacity_bytes": 900}


@pytest.mark.parametrize("what", ["stage", "graph"])
def test_what_there_is_to_say_of_times(what: Literal["stage", "graph"]) -> None:
    samples = time_samples(what, {"read": 0.5, "pack": 0.25}, {"read": 3, "pack": 2})
    assert {sample.name for sample in samples} <= METRICS.keys()
    values = {(sample.name, sample.labels[what]): sample.value for sample in samples}
    assert values == {
        (f"pragmatiq_{what}_seconds_total", "read"): 0.5,
        (f"pragmatiq_{what}_seconds_total", "pack"): 0.25,
        (f"pragmatiq_{what}_runs_total", "read"): 3,
        (f"pragmatiq_{what}_runs_total", "pack"): 2,
    }
