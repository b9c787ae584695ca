"""What probabilities are worth against the labels 0 and 1, under many row weights at once.

A weight counts a row: weight 2 is the row twice, 0 is the row left out. Scores are sorted once; every metric is then a
sum along the distinct scores, so that a bootstrap pays a few passes over the rows per replicate. Rows of equal score
stand at one threshold and never depend on their order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.errors import DataError

Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Thresholds:
    """The rows by distinct score: ``scores`` [g], highest first; ``positives`` and ``negatives`` [r, g] are the weights
    of each class at each score, for r weight vectors.
    """

    scores: Float64
    positives: Float64
    negatives: Float64

    @cached_property
    def true_positives(self) -> Float64:
        """[r, g + 1]: positives at or above each threshold, from none to all."""
        return _cumulative(self.positives)

    @cached_property
    def false_positives(self) -> Float64:
        """[r, g + 1]: negatives at or above each threshold, from none to all."""
        return _cumulative(self.negatives)

    @cached_property
    def alerts(self) -> Float64:
        """[r, g + 1]: rows at or above each threshold."""
        return self.true_positives + self.false_positives

    @property
    def total(self) -> Float64:
        """[r]: all rows."""
        return self.alerts[:, -1]


class RankedScores:
    """One model's scores, sorted once."""

    def __init__(self, labels: Array, scores: Array) -> None:
        """``labels`` 0 or 1 [n], ``scores`` probabilities [n].

        Raises :class:`DataError` for other values, unequal lengths or no rows.
        """
        _check(labels, scores)
        negated, self.group = np.unique(-scores.astype(np.float64), return_inverse=True)
        """[n]: each row's place in the distinct scores, highest first."""
        self._scores = -negated
        self._order = np.argsort(self.group, kind="stable")
        self._starts = np.searchsorted(self.group[self._order], np.arange(len(negated)))
        self._positive = labels[self._order].astype(np.float64)

    def thresholds(self, weights: Array) -> Thresholds:
        """Group ``weights`` [r, n] by score. Raises :class:`DataError` where one of them leaves a class empty."""
        ordered = weights[:, self._order].astype(np.float64, copy=False)
        rows = np.add.reduceat(ordered, self._starts, axis=1)
        positives = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        negatives = np.maximum(rows - positives, 0.0)
        for name, amounts in (("positive label (1)", positives), ("negative label (0)", negatives)):
            if not amounts.any(axis=1).all():
                raise DataError(
                    f"the {weights.shape[1]} rows to be measured hold no {name}; ranking metrics need both classes: "
                    "measure over a longer period or on more users"
                )
        return Thresholds(self._scores, positives, negatives)

    def measure(self, weights: Array) -> Float64:
        """All of :data:`METRICS` [r, len(METRICS)] under ``weights`` >= 0 [r, n]."""
        thresholds = self.thresholds(weights)
        return np.stack([metric.compute(thresholds) for metric in METRICS.values()], axis=1)


def measure(labels: Array, scores: Array, weights: Array | None = None) -> dict[str, float]:
    """All of :data:`METRICS`, by name, for ``labels`` 0 or 1 [n], probabilities ``scores`` [n], ``weights`` >= 0 [n].

    Raises :class:`DataError` for labels of one class, values out of range or arrays of unequal length.
    """
    ranked = RankedScores(labels, scores)
    weights = np.ones(len(labels)) if weights is None else weights
    if weights.shape != labels.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        raise DataError(f"weights must be finite, not negative and one per row {labels.shape}, got {weights.shape}")
    return dict(zip(METRICS, ranked.measure(weights[None])[0].tolist(), strict=True))


def equal_count_bins(thresholds: Thresholds, bins: int = CALIBRATION_BINS) -> tuple[Float64, Float64, Float64]:
    """``rows``, ``positives`` and ``predicted`` (sum of scores), [r, bins] each, in bins of equally many rows.

    Highest scores first. A row, or rows of one score, on a boundary are divided between the bins in proportion.
    """
    predicted = _cumulative((thresholds.positives + thresholds.negatives) * thresholds.scores)
    edges = thresholds.total[:, None] * np.linspace(0.0, 1.0, bins + 1)
    columns = (thresholds.alerts, thresholds.true_positives, predicted)
    rows, positives, sums = (np.diff(_at(thresholds, edges, column), axis=1) for column in columns)
    return rows, positives, sums


def _roc_auc(thresholds: Thresholds) -> Float64:
    """Area under the ROC curve; a pair of equal scores counts one half (midranks)."""
    hits = thresholds.true_positives
    pairs = thresholds.negatives * (hits[:, :-1] + hits[:, 1:]) / 2
    won: Float64 = pairs.sum(axis=1)
    return won / (hits[:, -1] * thresholds.false_positives[:, -1])


def _gini(thresholds: Thresholds) -> Float64:
    """2 AUC - 1."""
    return 2 * _roc_auc(thresholds) - 1


def _pr_auc(thresholds: Thresholds) -> Float64:
    """Average precision: the precision at each threshold, weighed by the recall it adds."""
    hits, alerts = thresholds.true_positives[:, 1:], thresholds.alerts[:, 1:]
    precision = np.divide(hits, alerts, out=np.zeros_like(hits), where=alerts > 0)
    found: Float64 = (thresholds.positives * precision).sum(axis=1)
    return found / hits[:, -1]


def _ks(thresholds: Thresholds) -> Float64:
    """Kolmogorov-Smirnov: the largest distance between the two classes' score distributions."""
    hits, misses = thresholds.true_positives, thresholds.false_positives
    distance: Float64 = np.abs(hits / hits[:, -1:] - misses / misses[:, -1:]).max(axis=1)
    return distance


def _recall_at(rate: float) -> Callable[[Thresholds], Float64]:
    """Recall when ``rate`` of the rows, and at least one, raise an alert: those of the highest scores.

    Of the rows that tie at the boundary, the part that still fits counts, with the share of positives among them.
    """

    def compute(thresholds: Thresholds) -> Float64:
        budget = np.clip(rate * thresholds.total, np.minimum(1.0, thresholds.total), None)
        hits = thresholds.true_positives
        return _at(thresholds, budget[:, None], hits)[:, 0] / hits[:, -1]

    return compute


def _brier(thresholds: Thresholds) -> Float64:
    """Mean squared error of the probabilities."""
    scores = thresholds.scores
    return (thresholds.positives @ (1 - scores) ** 2 + thresholds.negatives @ scores**2) / thresholds.total


def _log_loss(thresholds: Thresholds) -> Float64:
    """Mean negative log-likelihood in nats; probabilities are clipped to [eps, 1 - eps] of float64."""
    eps = np.finfo(np.float64).eps
    scores = np.clip(thresholds.scores, eps, 1 - eps)
    return -(thresholds.positives @ np.log(scores) + thresholds.negatives @ np.log1p(-scores)) / thresholds.total


def _expected_calibration_error(thresholds: Thresholds) -> Float64:
    """Mean distance between predicted and observed rate over 10 bins of equally many rows."""
    _, positives, predicted = equal_count_bins(thresholds)
    gaps: Float64 = np.abs(positives - predicted).sum(axis=1)
    return gaps / thresholds.total


class Metric(NamedTuple):
    """A metric [r] of thresholds, its name for people, and which way is up."""

    compute: Callable[[Thresholds], Float64]
    label: str
    lower_is_better: bool = False


METRICS: Mapping[str, Metric] = {
    "roc_auc": Metric(_roc_auc, "ROC-AUC"),
    "pr_auc": Metric(_pr_auc, "PR-AUC"),
    "recall_at_0.1pct": Metric(_recall_at(0.001), "Recall at 0.1 % alerts"),
    "recall_at_1pct": Metric(_recall_at(0.01), "Recall at 1 % alerts"),
    "ks": Metric(_ks, "KS"),
    "gini": Metric(_gini, "Gini"),
    "brier": Metric(_brier, "Brier score", lower_is_better=True),
    "log_loss": Metric(_log_loss, "Log loss", lower_is_better=True),
    "expected_calibration_error": Metric(
        _expected_calibration_error, "Expected calibration error", lower_is_better=True
    ),
}


def _cumulative(amounts: Float64) -> Float64:
    """[r, g] to running sums [r, g + 1] from 0."""
    sums = np.zeros((len(amounts), amounts.shape[1] + 1))
    np.cumsum(amounts, axis=1, out=sums[:, 1:])
    return sums


def _at(thresholds: Thresholds, alerts: Float64, column: Float64) -> Float64:
    """``column`` [r, g + 1] where ``alerts`` [r, k] rows are taken from the top; linear within a threshold."""
    rows = zip(alerts, thresholds.alerts, column, strict=True)
    return np.stack([np.interp(wanted, taken, values) for wanted, taken, values in rows])


def _check(labels: Array, scores: Array) -> None:
    if labels.ndim != 1 or labels.shape != scores.shape or not len(labels):
        raise DataError(f"labels and scores must be vectors of one length > 0, got {labels.shape} and {scores.shape}")
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if len(wrong):
        raise DataError(f"labels must be 0 or 1, got {labels[wrong[0]]} in row {wrong[0]} ({len(wrong)} such rows)")
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise DataError(
            f"scores must be probabilities in [0, 1], got {scores[wrong[0]]} in row {wrong[0]} ({len(wrong)} such rows)"
        )
