"""What the gateway counts, for Prometheus."""

from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pragmatiq_triton.gateway.admission import Admission
from pragmatiq_triton.gateway.call import Call
from pragmatiq_triton.gateway.health import Health
from pragmatiq_triton.gateway.identity import Identity

# Seconds; a known customer takes about 3 ms, a long new history about 1 s.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_MOST_CALLERS = 200
OTHERS = "others"
"""Callers beyond the first 200; their names could be without end."""


class GatewayMetrics:
    """Counts calls that have ended, and tells how much is under way."""

    def __init__(self, identity: Identity, admission: Admission, health: Health, version: str) -> None:
        self._registry = CollectorRegistry()
        self._callers: set[str] = set()
        of_calls = ("protocol", "route", "code")
        self._requests = self._counter("requests", "Calls by what came of them; code is empty for an answer.", of_calls)
        self._records = self._counter("records", "Records that were asked about.", ("caller",))
        self._refused = self._counter("refused_connections", "Connections that were ended before a call.", ("code",))
        self._received = self._counter("received_bytes", "Bytes of calls' bodies.", ("protocol",))
        self._sent = self._counter("sent_bytes", "Bytes of answers' bodies.", ("protocol",))
        self._seconds = Histogram(
            "pragmatiq_gateway_request_seconds", "From the first byte to the answer.", ("protocol", "route"),
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._queue = Histogram(
            "pragmatiq_gateway_queue_seconds", "Waiting for a turn at the models.", buckets=_BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        self._gauge("under_way", "Requests at the models.", lambda: admission.under_way)
        self._gauge("waiting", "Requests that wait for a turn at the models.", lambda: admission.waiting)
        healthy = Gauge(
            "pragmatiq_gateway_model_healthy", "1: the ensemble answered its last canary.", ("model",),
            registry=self._registry,
        )  # fmt: skip
        for name in identity.ensembles:
            healthy.labels(name).set_function(partial(health.is_model_ready, name))
        Gauge(
            "pragmatiq_model_info", "The model that answers: its run, its manifest's hash, and our version.",
            ("run", "hash", "version"), registry=self._registry,
        ).labels(identity.manifest.run, identity.manifest_hash, version).set(1)  # fmt: skip

    def __call__(self, call: Call) -> None:
        """Count ``call``."""
        self._requests.labels(call.protocol, call.route, call.code).inc()
        self._received.labels(call.protocol).inc(call.received_bytes)
        self._sent.labels(call.protocol).inc(call.sent_bytes)
        if call.model:
            self._records.labels(self._known(call.caller)).inc(call.records)
            self._seconds.labels(call.protocol, call.route).observe(call.seconds)
            self._queue.observe(call.queue_seconds)

    def refused(self, call: Call) -> None:
        """Count a connection that was ended before it had brought a whole request."""
        self._refused.labels(call.code).inc()

    def count_lost(self, lost: Callable[[], int]) -> None:
        """Tell of lines that the access log lost."""
        self._gauge("access_log_lost_lines", "Lines that the access log could not take or write.", lost)

    def tell_unreadable(self, seconds: Mapping[str, Callable[[], float]]) -> None:
        """Tell for how long the files behind each setting have not been readable."""
        told = Gauge(
            "pragmatiq_gateway_unreadable_seconds",
            "For how long what the setting names could not be read; 0: it can be.", ("setting",),
            registry=self._registry,
        )  # fmt: skip
        for setting, function in seconds.items():
            told.labels(setting).set_function(function)

    def page(self) -> str:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry).decode()

    def _known(self, caller: str) -> str:
        if caller not in self._callers:
            if len(self._callers) >= _MOST_CALLERS:
                return OTHERS
            self._callers.add(caller)
        return caller

    def _counter(self, name: str, documentation: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"pragmatiq_gateway_{name}", documentation, labels, registry=self._registry)

    def _gauge(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        Gauge(f"pragmatiq_gateway_{name}", documentation, registry=self._registry).set_function(value)
