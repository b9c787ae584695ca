"""What the models count, by name, and how it reaches Triton's metrics port.

Parts of a stage keep plain totals and give them out as samples. A thread hands them over once a second: each update of
a Triton metric is a message to the server's process, which no request should wait for.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from math import isfinite
from typing import Any, Literal, NamedTuple, Protocol

PERIOD_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Sample(NamedTuple):
    """A total since the start (of a counter) or a value now (of a gauge), under one of :data:`METRICS`' names."""

    name: str
    value: float
    labels: Mapping[str, str] = {}


class Description(NamedTuple):
    """Kind and meaning of a metric; every metric also has the label ``model``."""

    kind: Literal["counter", "gauge"]
    help: str


METRICS = {
    "pragmatiq_stage_seconds_total": Description("counter", "Seconds of requests, by stage; a model's stages add up"),
    "pragmatiq_stage_runs_total": Description("counter", "Requests that went through a stage"),
    "pragmatiq_graph_seconds_total": Description("counter", "Seconds of worker threads in a graph"),
    "pragmatiq_graph_runs_total": Description("counter", "Calls of a graph"),
    "pragmatiq_requests_total": Description(
        "counter",
        "Requests, by outcome: answered, refused (bad input), failed, stopping (the server was about to stop); canary: "
        "health checks, counted only here",
    ),
    "pragmatiq_cache_hits_total": Description("counter", "Lookups that found their entry, by cache"),
    "pragmatiq_cache_misses_total": Description("counter", "Lookups that did not find their entry, by cache"),
    "pragmatiq_cache_evictions_total": Description("counter", "Entries given up for newer ones, by cache"),
    "pragmatiq_cache_entries": Description("gauge", "Entries held, by cache"),
    "pragmatiq_cache_bytes": Description("gauge", "Bytes held, by cache"),
    "pragmatiq_cache_capacity_bytes": Description("gauge", "Bytes that a cache may hold, by cache"),
    "pragmatiq_events_total": Description("counter", "Events read"),
    "pragmatiq_tokens_total": Description("counter", "Tokens of the events read"),
    "pragmatiq_unknown_tokens_total": Description("counter", "Tokens of events whose key or value is [UNK]"),
    "pragmatiq_missing_features_total": Description(
        "counter", "Records that came without a feature of the bank's own that tasks read, by feature"
    ),
    "pragmatiq_unknown_features_total": Description(
        "counter", "Features of the bank's own in records that no task reads; the log names the first 20"
    ),
    "pragmatiq_truncations_total": Description(
        "counter",
        "What the network does not see for its limits, by part: events, event_tokens, profile_tokens, text_characters; "
        "texts: strings longer than the text model reads, counted when their vectors are made",
    ),
    "pragmatiq_score_bucket": Description("counter", "Scores of at most the label le, by task: a histogram's buckets"),
    "pragmatiq_score_sum": Description("counter", "Sum of the scores, by task"),
    "pragmatiq_score_count": Description("counter", "Scores given, by task"),
}


class CountingCache(Protocol):
    """A cache that counts what it does."""

    hits: int
    misses: int
    evictions: int

    def __len__(self) -> int: ...

    @property
    def n_bytes(self) -> int: ...

    @property
    def max_bytes(self) -> int: ...


def cache_samples(name: str, cache: CountingCache) -> list[Sample]:
    """What there is to say of the cache called ``name``."""
    values = {
        "hits_total": cache.hits,
        "misses_total": cache.misses,
        "evictions_total": cache.evictions,
        "entries": len(cache),
        "bytes": cache.n_bytes,
        "capacity_bytes": cache.max_bytes,
    }
    return [Sample(f"pragmatiq_cache_{what}", value, {"cache": name}) for what, value in values.items()]


def time_samples(
    what: Literal["stage", "graph"], seconds: Mapping[str, float], runs: Mapping[str, float]
) -> list[Sample]:
    """What each stage or graph took, and how often."""
    return [
        Sample(f"pragmatiq_{what}_{unit}_total", value, {what: name})
        for unit, values in (("seconds", seconds), ("runs", runs))
        for name, value in values.items()
    ]


class MetricsPublisher:
    """Hands the samples of ``read`` to Triton (its documentation: "Custom Metrics" of the Python backend)."""

    def __init__(self, pb_utils: Any, model: str, read: Callable[[], Iterable[Sample]]) -> None:
        self._pb = pb_utils
        self._model = model
        self._read = read
        self._families: dict[str, Any] = {}
        self._metrics: dict[tuple[str, frozenset[tuple[str, str]]], Any] = {}
        self._published: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self._reported: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Publish now, so that every metric is there from the start, and then once a period."""
        self.publish()
        self._thread.start()

    def stop(self) -> None:
        """Publish what came last and let go of Triton's metrics: one that outlives its model crashes the stub."""
        self._stopped.set()
        self._thread.join()
        self._publish_if_taken()
        self._metrics.clear()
        self._families.clear()

    def publish(self) -> None:
        """Hand over what has changed.

        Nothing but a growing number ever goes to a counter: on a negative increment Triton 2.51's stub dies. A counter
        that went back stays at what is published until it is past that, and is named once in the log.
        """
        for name, value, labels in self._read():
            key = (name, frozenset(labels.items()))
            if key not in self._metrics:
                self._metrics[key] = self._family(name).Metric(labels={"model": self._model, **labels})
                self._published[key] = 0.0
            if value == self._published[key]:
                continue
            if METRICS[name].kind == "gauge":
                self._metrics[key].set(value)
            elif (growth := value - self._published[key]) > 0 and isfinite(growth):
                self._metrics[key].increment(growth)
            else:
                self._report(name, labels, value, self._published[key])
                continue
            self._published[key] = value

    def _report(self, name: str, labels: Mapping[str, str], value: float, published: float) -> None:
        if name not in self._reported:
            self._reported.add(name)
            at = f"{self._model}: {name}{dict(labels)}"
            logger.error(
                "%s: a counter went from %s to %s and stays at %s: a bug here", at, published, value, published
            )

    def _family(self, name: str) -> Any:
        if name not in self._families:
            kind, help_text = METRICS[name]
            kinds = self._pb.MetricFamily
            self._families[name] = kinds(
                name=name, description=help_text, kind=kinds.COUNTER if kind == "counter" else kinds.GAUGE
            )
        return self._families[name]

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            self._publish_if_taken()

    def _publish_if_taken(self) -> None:
        # A server that is shutting down takes no metrics; that must not end as a traceback.
        with suppress(Exception):
            self.publish()
