"""Where the time of scoring goes: totals by stage of a request and by graph."""

from dataclasses import dataclass, field

from pragmatiq_triton.scorer.fair_queue import Job


def _stages() -> dict[str, float]:
    return dict.fromkeys(("lookup", "queue", "events", "history"), 0.0)


def _graphs() -> dict[str, float]:
    return dict.fromkeys(("events", "histories"), 0.0)


@dataclass(slots=True)
class Timings:
    """``stage_seconds`` of requests, whose sum is the time from submitting to answering, and ``graph_seconds`` of
    worker threads; ``jobs`` and ``graph_runs`` count them.

    A request's stages: ``lookup`` in the cache, ``queue`` before its first turn, ``events`` until all of them are
    encoded, ``history`` until its last user is.
    """

    stage_seconds: dict[str, float] = field(default_factory=_stages)
    graph_seconds: dict[str, float] = field(default_factory=_graphs)
    graph_runs: dict[str, float] = field(default_factory=_graphs)
    jobs: int = 0

    def add_graph(self, name: str, seconds: float) -> None:
        """One call of a graph."""
        self.graph_seconds[name] += seconds
        self.graph_runs[name] += 1

    def add_job(self, job: Job, ended: float) -> None:
        """One request, answered at ``ended``."""
        encoded = max(job.encoded, job.begun)
        self.jobs += 1
        self.stage_seconds["lookup"] += job.looked_up - job.submitted
        self.stage_seconds["queue"] += job.begun - job.looked_up
        self.stage_seconds["events"] += encoded - job.begun
        self.stage_seconds["history"] += ended - encoded
