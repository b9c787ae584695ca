"""How far metrics, and differences between models, would move on other users: a paired percentile bootstrap.

Users are drawn with replacement and bring all their rows, since rows of one user are alike. Every model is measured on
the same draws, so what makes a draw hard for all of them cancels from their differences. Metrics that noise
raises (the expected calibration error, KS) lie high in the draws: their interval can lie above the value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.metrics.metrics import METRICS, Float64, RankedScores
from pragmatiq_triton.errors import ConfigError, DataError

Array = npt.NDArray[Any]
Verdict = Literal["better", "worse", "not distinguishable"]

LEVEL = 0.95
MIN_REPLICATES = 40
"""A tail of 2.5 % needs 40 draws to hold one of them."""
MIN_USERS_PER_CLASS = 6
"""Fewer users that all agree are no evidence at 5 %, by a sign test; yet a bootstrap of them is all too narrow."""
_CHUNK_ELEMENTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric on all rows, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate - baseline on all rows, with its 95 % interval over paired draws.

    ``verdict`` says for the candidate what the difference's interval allows to say; ``separate``: the two models' own
    intervals do not overlap either.
    """

    value: float
    low: float
    high: float
    verdict: Verdict
    separate: bool


@dataclass(frozen=True, slots=True)
class Intervals:
    """``estimates[model][metric]``, ``differences[baseline][metric]``; ``left_out`` draws lacked a class."""

    estimates: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Difference]]
    left_out: int


def bootstrap(
    labels: Array,
    users: Array,
    scores: Mapping[str, Array],
    candidate: str,
    *,
    seed: int = 0,
    replicates: int = 1000,
) -> Intervals:
    """Measure every model of ``scores`` (probabilities [n] by name) and ``candidate`` against each other one.

    ``labels`` 0 or 1 [n]; ``users`` [n]: whose row it is, as strings or integers. A million row weights
    (or one draw's, if that is more) are in memory at a time.

    Raises :class:`DataError` for labels of one class, for arrays that do not fit and where more than half of the draws
    lack a class; :class:`ConfigError` for an unknown candidate or too few replicates.
    """
    if candidate not in scores:
        raise ConfigError(f"candidate {candidate!r} has no scores; there are: {', '.join(scores)}")
    if replicates < MIN_REPLICATES:
        raise ConfigError(f"replicates must be at least {MIN_REPLICATES} for a 95 % interval, got {replicates}")
    if users.shape != labels.shape:
        raise DataError(f"users must name one user per row {labels.shape}, got {users.shape}")
    ranked = {name: RankedScores(labels, values) for name, values in scores.items()}
    values = {name: ranks.measure(np.ones((1, len(labels))))[0] for name, ranks in ranked.items()}

    draws: dict[str, list[Float64]] = {name: [] for name in ranked}
    kept = 0
    for weights in _draws(users, seed, replicates):
        positives = weights @ labels
        usable = weights[(positives > 0) & (positives < weights.sum(axis=1))]
        kept += len(usable)
        if len(usable):
            for name, ranks in ranked.items():
                draws[name].append(ranks.measure(usable))
    if 2 * kept < replicates:
        raise DataError(
            f"{replicates - kept} of {replicates} draws of the {len(np.unique(users))} users lack a class, so there is "
            "no interval: the rarer label belongs to too few users; measure on more users or a longer period"
        )

    replicated = {name: np.concatenate(parts) for name, parts in draws.items()}
    estimates = {name: _estimates(values[name], replicated[name]) for name in ranked}
    enough = min(users_per_class(labels, users)) >= MIN_USERS_PER_CLASS
    differences = {}
    for name in ranked:
        if name != candidate:
            gaps = _estimates(values[candidate] - values[name], replicated[candidate] - replicated[name])
            differences[name] = {
                metric: _difference(metric, gap, estimates[candidate][metric], estimates[name][metric], enough)
                for metric, gap in gaps.items()
            }
    return Intervals(estimates, differences, replicates - kept)


def users_per_class(labels: Array, users: Array) -> tuple[int, int]:
    """How many users have a negative, and how many have a positive row."""
    return len(np.unique(users[labels == 0])), len(np.unique(users[labels == 1]))


def _draws(users: Array, seed: int, replicates: int) -> Iterator[Float64]:
    """Row weights [r, n]: how often each row's user was drawn; a chunk of draws at a time."""
    names, user_of_row = np.unique(users, return_inverse=True)
    rng = np.random.default_rng(seed)
    at_once = max(1, _CHUNK_ELEMENTS // len(users))
    for start in range(0, replicates, at_once):
        counts = [
            np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
            for _ in range(min(at_once, replicates - start))
        ]
        yield np.stack(counts)[:, user_of_row].astype(np.float64)


def _estimates(values: Float64, replicated: Float64) -> dict[str, Estimate]:
    """``values`` [metrics] with the central 95 % of ``replicated`` [replicates, metrics]."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(replicated, [tail, 1 - tail], axis=0)
    columns = zip(METRICS, values.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(*column) for name, *column in columns}


def _difference(metric: str, gap: Estimate, candidate: Estimate, baseline: Estimate, enough: bool) -> Difference:
    verdict: Verdict = "not distinguishable"
    if enough and (gap.low > 0 or gap.high < 0):
        verdict = "better" if (gap.low > 0) != METRICS[metric].lower_is_better else "worse"
    separate = candidate.low > baseline.high or candidate.high < baseline.low
    return Difference(gap.value, gap.low, gap.high, verdict, separate)
