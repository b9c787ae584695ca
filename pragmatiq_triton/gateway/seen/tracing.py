"""OpenTelemetry traces: a span for each sampled call, with one for its wait and one for each model's work.

Spans are made once a call has ended, of times that were taken anyhow, so that a call that is not sampled costs nothing.
The models take part through the board of stage times (:mod:`pragmatiq_triton.stage_times`), without OpenTelemetry in
their processes.
"""

import os
import time

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pragmatiq_triton.gateway.call import Call
from pragmatiq_triton.gateway.identity import Identity
from pragmatiq_triton.gateway.seen.settings import Traces

_SERVICE = "pragmatiq-triton"


class Tracing:
    """Takes calls that have ended and sends their spans, in batches from a thread of its own."""

    def __init__(self, settings: Traces, identity: Identity, version: str) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME", _SERVICE)
        own = {"service.name": name, "service.version": version, "pragmatiq.model.run": identity.manifest.run}
        self._provider = TracerProvider(
            resource=Resource.create({**own, "pragmatiq.model.hash": identity.manifest_hash}),
            sampler=ParentBased(TraceIdRatioBased(settings.sample)),
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
        self._tracer = self._provider.get_tracer(_SERVICE, version)
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, call: Call) -> None:
        """Tell of ``call`` if it is sampled, and give it the id of its trace."""
        if not call.model and not call.code:
            return
        parent = self._propagator.extract({"traceparent": call.traceparent}) if call.traceparent else None
        offset = time.time_ns() - time.monotonic_ns()
        began = int(call.started * 1e9) + offset
        span = self._tracer.start_span(
            f"score {call.model}" if call.model else call.route, parent, SpanKind.SERVER, start_time=began
        )
        if span.is_recording():
            call.trace_id = f"{span.get_span_context().trace_id:032x}"
            span.set_attributes(
                {
                    "pragmatiq.request_id": call.request_id,
                    "pragmatiq.caller": call.caller,
                    "pragmatiq.records": call.records,
                    "pragmatiq.queue_seconds": call.queue_seconds,
                    "network.protocol.name": call.protocol,
                    "http.route" if call.protocol == "http" else "rpc.method": call.route,
                    "http.response.status_code": call.status,
                }
            )
            if call.code:
                span.set_status(Status(StatusCode.ERROR, call.code))
            within = trace.set_span_in_context(span)
            for stage in call.stages:
                part = self._tracer.start_span(stage.stage, within, SpanKind.INTERNAL, start_time=stage.began + offset)
                part.end(stage.ended + offset)
        span.end(began + int(call.seconds * 1e9))

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()
