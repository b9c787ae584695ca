"""How the scores are distributed, by task: a histogram."""

from collections.abc import Sequence

import numpy as np

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.serving.metrics import Sample

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Upper bounds of the buckets: close where frauds and defaults lie, at the small end."""


class ScoreCounts:
    """Counts of scores at or below each of ``BOUNDS``."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self._tasks = tasks
        self._counts = np.zeros((len(tasks), len(BOUNDS)), np.int64)
        self._sums = np.zeros(len(tasks))
        self._n_scores = 0

    def add(self, scores: Float32) -> None:
        """Count scores [n_users, n_tasks]."""
        if self._tasks:
            self._n_scores += len(scores)
            self._sums += np.nansum(scores, axis=0, dtype=np.float64)
            self._counts += (scores[..., None] <= np.asarray(BOUNDS, np.float32)).sum(axis=0)

    def samples(self) -> list[Sample]:
        """Buckets, sum and count as Prometheus reads a histogram's."""
        buckets = [
            Sample("pragmatiq_score_bucket", int(count), {"task": task, "le": str(bound)})
            for task, counts in zip(self._tasks, self._counts, strict=True)
            for bound, count in zip(BOUNDS, counts, strict=True)
        ]
        totals = [
            sample
            for task, total in zip(self._tasks, self._sums.tolist(), strict=True)
            for sample in (
                Sample("pragmatiq_score_bucket", self._n_scores, {"task": task, "le": "+Inf"}),
                Sample("pragmatiq_score_sum", total, {"task": task}),
                Sample("pragmatiq_score_count", self._n_scores, {"task": task}),
            )
        ]
        return [*buckets, *totals]
