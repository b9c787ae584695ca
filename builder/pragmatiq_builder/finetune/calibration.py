"""Fitting what makes probabilities of logits, on users that the classifier was not trained on."""

from collections.abc import Callable

import numpy as np
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression

from pragmatiq_builder.finetune.classifiers import Array, Float64, cross_validated_log_loss, require_both_classes
from pragmatiq_builder.heads import Calibrator, Isotonic, Platt
from pragmatiq_builder.heads.head import HIGHEST_PROBABILITY, LOWEST_PROBABILITY
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError

MIN_PER_CLASS = 50
"""Rows of the rarer class below which only two numbers are fitted."""
FLAT_SLOPE = 1e-3
"""Per standard deviation of the logits: as good as none, yet it keeps their order."""
STEPS = 100
"""Of isotonic regression in a standard deviation: no two knots are closer, so rounding cannot move a probability."""
SMALLEST_SPREAD = 1e-4
"""Standard deviation, relative to the largest logit, below which float32 logits hardly differ."""


def fit_calibrator(logits: Array, labels: Array, groups: Array, seed: int) -> Calibrator:
    """Fit the probability of label 1 to ``logits`` [n], rising with them; ``labels`` 0 or 1 and users ``groups`` [n].

    Isotonic regression where its log loss for users not seen is smaller than Platt scaling's, given 50 rows of each
    class. Logits that are (nearly) constant, or that fall as labels rise, get almost the base rate, in their order;
    those that separate the classes get no steeper than Platt's smoothed labels allow. Raises :class:`DataError` for
    logits that are not finite and where a class is missing.
    """
    if not np.isfinite(logits).all():
        row = int(np.argmin(np.isfinite(logits)))
        raise DataError(f"row {row}: the logit is {logits[row]}, expected a finite number; fit the classifier anew")
    require_both_classes(labels)
    logits = logits.astype(np.float32).astype(np.float64)
    platt = _fit_platt(logits, labels)
    if min(np.count_nonzero(labels), np.count_nonzero(labels == 0)) < MIN_PER_CLASS:
        return platt
    platt_loss, isotonic_loss = (_loss(fit, logits, labels, groups, seed) for fit in (_fit_platt, _fit_isotonic))
    better = platt_loss is not None and isotonic_loss is not None and isotonic_loss < platt_loss
    return _fit_isotonic(logits, labels) if better else platt


def _loss(
    fit: Callable[[Float64, Array], Calibrator], logits: Float64, labels: Array, groups: Array, seed: int
) -> float | None:
    def predict(train: Int64, test: Int64) -> Float64:
        return _apply(fit(logits[train], labels[train]), logits[test])

    return cross_validated_log_loss(predict, labels, groups, seed)


def _fit_platt(logits: Float64, labels: Array) -> Platt:
    """Platt scaling; its smoothed labels (Platt 1999, section 2.2) keep it finite where logits separate the classes."""
    positives, negatives = np.count_nonzero(labels), np.count_nonzero(labels == 0)
    smoothed = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    spread = _spread(logits)
    standardised = (logits - logits.mean()) / (spread or 1.0)
    # A label between 0 and 1 is one row of each class, weighted.
    fitted = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(
        np.tile(standardised, 2)[:, np.newaxis],
        np.repeat([1, 0], len(labels)),
        sample_weight=np.concatenate([smoothed, 1 - smoothed]),
    )
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if not spread or slope < FLAT_SLOPE:
        slope, intercept = FLAT_SLOPE, float(np.log(smoothed.mean() / (1 - smoothed.mean())))
    slope /= spread or 1.0
    return Platt(slope, intercept - slope * float(logits.mean()))


def _fit_isotonic(logits: Float64, labels: Array) -> Calibrator:
    """Centered isotonic regression (Oron and Flournoy 2017): strictly rising where plain isotonic steps and ties."""
    step = _spread(logits) / STEPS
    if not step:
        return _fit_platt(logits, labels)
    cells, cell = np.unique(np.rint(logits / step), return_inverse=True)
    rows, positives = np.bincount(cell).astype(np.float64), np.bincount(cell, labels)
    # Laplace's rule at both ends, as rows, so that the fit still rises.
    rows[[0, -1]] += 2
    positives[[0, -1]] += 1
    rates, block = np.unique(isotonic_regression(positives / rows, sample_weight=rows), return_inverse=True)
    if len(rates) < 2:
        return _fit_platt(logits, labels)
    knots = np.bincount(block, rows * cells) / np.bincount(block, rows)
    slopes = np.diff(rates) / np.diff(knots)
    # Ends go on as steeply as next to them, at most half the way to 0 or 1, or the best and the worst would tie.
    if (distance := knots[0] - cells[0]) >= 1:
        knots = np.insert(knots, 0, cells[0])
        rates = np.insert(rates, 0, max(rates[0] - slopes[0] * distance, rates[0] / 2))
    if (distance := cells[-1] - knots[-1]) >= 1:
        knots = np.append(knots, cells[-1])
        rates = np.append(rates, min(rates[-1] + slopes[-1] * distance, (1 + rates[-1]) / 2))
    rates = np.clip(rates, LOWEST_PROBABILITY, HIGHEST_PROBABILITY)
    return Isotonic((knots * step).astype(np.float32), rates.astype(np.float32))


def _spread(logits: Float64) -> float:
    """The standard deviation, 0 for logits that hardly differ."""
    spread = float(logits.std())
    return spread if spread > SMALLEST_SPREAD * float(np.abs(logits).max()) else 0.0


def _apply(calibrator: Calibrator, logits: Float64) -> Float64:
    match calibrator:
        case Platt(slope, intercept):
            probabilities = np.exp(-np.logaddexp(0, -(slope * logits + intercept)))
        case Isotonic(knots, rates):
            probabilities = np.interp(logits, knots, rates)
    return np.clip(probabilities, LOWEST_PROBABILITY, HIGHEST_PROBABILITY)
