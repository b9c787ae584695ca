"""The hybrid classifier: boosted trees on features of the history, and the network's vectors on top of their logit.

The vectors have to pay: unless they make the loss for users not seen smaller than the trees' alone, by more than chance
would, their weights are 0, and the head is the trees.
"""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pragmatiq_builder.finetune.classifiers import (
    Array,
    Boosting,
    best_of,
    choose_boosting,
    cross_validated_log_losses,
    fit_boosting,
)
from pragmatiq_builder.finetune.splits import folds
from pragmatiq_builder.heads import Linear, Stacked
from pragmatiq_triton.batch import Float32, Int64

STACKING_FOLDS = 4
REGULARISATIONS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)
DEFAULT_REGULARISATION = 0.001
STANDARD_ERRORS = 1.64
"""By how many of them the vectors' gain is beyond chance: one-sided, 95 %."""
TREE_EMPHASIS = 10.0
"""The trees' logit is scaled up by this, so that the penalty falls on the vectors: they have to earn their place."""


def fit_stacked(vectors: Float32, features: Float32, labels: Array, groups: Array, seed: int) -> Stacked:
    """Fit trees to ``features`` float32 [n, f], and a logistic regression to ``vectors`` [n, d] and the trees' logit.

    The regression learns from logits of rows whose users the trees did not see, so it does not trust them too far.
    ``labels`` 0 or 1 [n], ``groups`` [n] the users. :class:`~pragmatiq_triton.errors.DataError` as
    :func:`~pragmatiq_builder.finetune.classifiers.fit_classifier`.
    """
    boosting = choose_boosting(features, labels, groups, seed)
    _, trees = fit_boosting(features, labels, seed, boosting)
    logits = _unseen_logits(features, labels, groups, seed, boosting)
    x = np.column_stack([vectors, logits])
    losses = {each: _losses(each, x, labels, groups, seed) for each in REGULARISATIONS}
    known = {each: found for each, found in losses.items() if found is not None}
    regularisation = best_of({each: float(found.mean()) for each, found in known.items()}, DEFAULT_REGULARISATION)
    alone = _losses(max(REGULARISATIONS), logits[:, None], labels, groups, seed)
    if alone is not None and known and not _beyond_chance(alone - known[regularisation], groups):
        return Stacked(trees, _of_trees_alone(logits, labels, x.shape[1]))
    scaler, logistic = _fit(regularisation, x, labels)
    linear = Linear(
        mean=scaler.mean_.astype(np.float32),
        scale=(scaler.scale_ / _emphasis(x.shape[1])).astype(np.float32),
        weights=logistic.coef_[0].astype(np.float32),
        bias=float(logistic.intercept_[0]),
    )
    return Stacked(trees, linear)


def vectors_pay(stacked: Stacked) -> bool:
    """Whether the classifier reads the network's vectors at all."""
    return bool(np.any(stacked.linear.weights[:-1]))


def _of_trees_alone(logits: Array, labels: Array, width: int) -> Linear:
    """The regression on the trees' logit [n], as one on ``width`` columns of which it is the last."""
    scaler, logistic = _fit(max(REGULARISATIONS), logits[:, None], labels)
    mean, scale, weights = np.zeros(width), np.ones(width), np.zeros(width)
    mean[-1], scale[-1] = scaler.mean_[0], scaler.scale_[0] / TREE_EMPHASIS
    weights[-1] = logistic.coef_[0, 0]
    return Linear(
        mean.astype(np.float32), scale.astype(np.float32), weights.astype(np.float32), float(logistic.intercept_[0])
    )


def _unseen_logits(features: Float32, labels: Array, groups: Array, seed: int, boosting: Boosting) -> Array:
    """The trees' logit of each row [n] from a fit without its user."""
    distinct = len(np.unique(groups))
    fold = folds([str(group) for group in groups], min(STACKING_FOLDS, distinct), seed)
    logits = np.zeros(len(labels))
    for held_out in range(min(STACKING_FOLDS, distinct)):
        train, test = np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)
        if len(np.unique(labels[train])) == 2:
            model, _ = fit_boosting(features[train], labels[train], seed, boosting)
            logits[test] = model.decision_function(features[test])
    return logits


def _emphasis(width: int) -> Array:
    emphasis = np.ones(width)
    emphasis[-1] = TREE_EMPHASIS
    return emphasis


def _fit(regularisation: float, x: Array, labels: Array) -> tuple[Any, Any]:
    scaler = StandardScaler().fit(x)
    logistic = LogisticRegression(C=regularisation, max_iter=1000)
    return scaler, logistic.fit(scaler.transform(x) * _emphasis(x.shape[1]), labels)


def _beyond_chance(gains: Array, groups: Array) -> bool:
    """Whether the sum of ``gains`` [n] is over :data:`STANDARD_ERRORS` of its own, users drawn and not rows."""
    _, number = np.unique(groups, return_inverse=True)
    of_user = np.bincount(number, weights=gains)
    return bool(gains.sum() > STANDARD_ERRORS * np.sqrt(np.square(of_user - of_user.mean()).sum()))


def _losses(regularisation: float, x: Array, labels: Array, groups: Array, seed: int) -> Array | None:
    def predict(train: Int64, test: Int64) -> Array:
        scaler, logistic = _fit(regularisation, x[train], labels[train])
        probabilities: Array = logistic.predict_proba(scaler.transform(x[test]) * _emphasis(x.shape[1]))[:, 1]
        return probabilities

    return cross_validated_log_losses(predict, labels, groups, seed)
