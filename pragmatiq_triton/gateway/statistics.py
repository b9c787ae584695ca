"""Triton's statistics as perf_analyzer reads them, counted here."""

from dataclasses import dataclass, field
from typing import Any

from pragmatiq_triton.gateway.call import Call


@dataclass(slots=True)
class Count:
    """Of one ensemble: requests, records, and nanoseconds of answered requests."""

    requests: int = 0
    records: int = 0
    nanoseconds: int = 0
    queue_nanoseconds: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts by ensemble."""

    counts: dict[str, Count] = field(default_factory=dict)

    def of(self, model: str) -> Count:
        """The count of one ensemble."""
        return self.counts.setdefault(model, Count())

    def described(self, model: str) -> dict[str, Any]:
        """One ensemble's count as Triton tells it."""
        count = self.of(model)
        return {
            "name": model,
            "version": "1",
            "inference_count": count.records,
            "execution_count": count.requests,
            "inference_stats": {
                "success": {"count": count.requests, "ns": count.nanoseconds},
                "fail": {"count": count.failed, "ns": 0},
                "queue": {"count": count.requests, "ns": count.queue_nanoseconds},
            },
        }

    def take(self, call: Call) -> None:
        """Count a call that has ended."""
        if not call.model:
            return
        count = self.of(call.model)
        if call.code:
            count.failed += 1
            return
        count.requests += 1
        count.records += call.records
        count.nanoseconds += int(call.seconds * 1e9)
        count.queue_nanoseconds += int(call.queue_seconds * 1e9)
