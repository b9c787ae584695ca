"""The points of an evaluation's plots, as plain numbers."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from pragmatiq_builder.metrics.metrics import RankedScores, equal_count_bins

Array = npt.NDArray[Any]

MAX_POINTS = 300
HISTOGRAM_BINS = 40
SMALL_SCORE = 0.05
LOWEST_SCORE = 1e-6
_Z = 1.959963984540054  # normal quantile of 0.975
_SLIVER = 1e-6  # of a row: what rounding moves over a bin's edge


@dataclass(frozen=True, slots=True)
class Curve:
    """At most 300 points (``x``, ``y``) in the order of the curve."""

    x: list[float]
    y: list[float]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins of equally many rows, lowest scores first: mean ``predicted`` and ``observed`` rate, ``rows`` of each.

    ``low`` and ``high`` are the observed rate's 95 % Wilson interval with the bin's users, not its rows, as the sample
    size: rows of one user are not independent. With one row per user it is the usual Wilson interval. Unlike a
    bootstrap it stays honest in a bin without positives.
    """

    predicted: list[float]
    observed: list[float]
    low: list[float]
    high: list[float]
    rows: list[float]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Share of each class's rows per bin: ``edges`` [bins + 1] of the score, ``negatives`` and ``positives`` [bins].

    With ``log``, for scores whose median is below 0.05, bins are equally wide on a log axis and scores below the first
    edge (not above 1e-6) are counted in the first bin.
    """

    edges: list[float]
    negatives: list[float]
    positives: list[float]
    log: bool


@dataclass(frozen=True, slots=True)
class Curves:
    """One model's plots: false against true positive rate, recall against precision, calibration, scores."""

    roc: Curve
    precision_recall: Curve
    reliability: Reliability
    histogram: Histogram


def curves(labels: Array, users: Array, scores: Array) -> Curves:
    """The plots of ``labels`` 0 or 1 [n], whose rows they are [n] and probabilities ``scores`` [n].

    Raises :class:`~pragmatiq_triton.errors.DataError` like :class:`RankedScores`.
    """
    reliability = _reliability(labels, users, scores)
    false_positive_rate, true_positive_rate, _ = roc_curve(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores)
    return Curves(
        roc=_thinned(false_positive_rate, true_positive_rate),
        precision_recall=_thinned(recall[::-1], precision[::-1]),
        reliability=reliability,
        histogram=_histogram(labels, scores),
    )


def _thinned(x: Array, y: Array) -> Curve:
    """Points at equal distances along the curve, both ends among them."""
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    if len(x) > MAX_POINTS:
        kept = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], MAX_POINTS - 1)))
        kept = np.union1d(kept, [len(x) - 1])
        x, y = x[kept], y[kept]
    return Curve(x.tolist(), y.tolist())


def _reliability(labels: Array, users: Array, scores: Array) -> Reliability:
    ranked = RankedScores(labels, scores)
    thresholds = ranked.thresholds(np.ones((1, len(labels))))
    rows, positives, predicted = (column[0, ::-1] for column in equal_count_bins(thresholds))
    user_of_row = np.unique(users, return_inverse=True)[1]
    below = thresholds.alerts[0, -1] - thresholds.alerts[0]
    first, last = below[1:][ranked.group], below[:-1][ranked.group]
    edges = np.concatenate([[0.0], np.cumsum(rows)])
    inside = [np.minimum(last, high) - np.maximum(first, low) > _SLIVER for low, high in pairwise(edges)]
    n_users = [len(np.unique(user_of_row[rows_in_bin])) for rows_in_bin in inside]
    observed = np.clip(positives / rows, 0.0, 1.0)
    low, high = _wilson(observed, np.minimum(rows, n_users))
    columns = (predicted / rows, observed, low, high, rows)
    return Reliability(*(column.tolist() for column in columns))


def _wilson(rate: Array, n: Array) -> tuple[Array, Array]:
    """95 % score interval of a binomial ``rate`` seen in ``n`` trials (Wilson 1927)."""
    centre = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(rate * (1 - rate) / n + _Z**2 / (4 * n**2))
    return np.clip(centre - half, 0.0, rate), np.clip(centre + half, rate, 1.0)


def _histogram(labels: Array, scores: Array) -> Histogram:
    log = bool(np.median(scores) < SMALL_SCORE)
    if log:
        smallest = np.min(scores, initial=SMALL_SCORE, where=scores > 0)
        lowest = np.floor(np.log10(max(smallest, LOWEST_SCORE)))
        edges = np.logspace(lowest, 0, HISTOGRAM_BINS + 1)
    else:
        edges = np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1)
    inside = np.clip(scores, edges[0], edges[-1])
    shares = [np.histogram(inside[labels == label], edges)[0] / np.sum(labels == label) for label in (0, 1)]
    return Histogram(edges.tolist(), shares[0].tolist(), shares[1].tolist(), log)
