"""The hybrid classifier: boosted trees on features of the history, and the network's vectors on top of their logit."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pragmatiq_builder.finetune.classifiers import Array, best_of, cross_validated_log_loss, fit_boosting, known_losses
from pragmatiq_builder.finetune.splits import folds
from pragmatiq_builder.heads import Linear, Stacked
from pragmatiq_triton.batch import Float32, Int64

STACKING_FOLDS = 4
REGULARISATIONS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)
DEFAULT_REGULARISATION = 0.001
TREE_EMPHASIS = 10.0
"""The trees' logit is scaled up by this, so that the penalty falls on the vectors: they have to earn their place."""


def fit_stacked(vectors: Float32, features: Float32, labels: Array, groups: Array, seed: int) -> Stacked:
    """Fit trees to ``features`` float32 [n, f], and a logistic regression to ``vectors`` [n, d] and the trees' logit.

    The regression learns from logits of rows whose users the trees did not see, so it does not trust them too far.
    ``labels`` 0 or 1 [n], ``groups`` [n] the users. :class:`~pragmatiq_triton.errors.DataError` as
    :func:`~pragmatiq_builder.finetune.classifiers.fit_classifier`.
    """
    _, trees = fit_boosting(features, labels, seed)
    x = np.column_stack([vectors, _unseen_logits(features, labels, groups, seed)])
    losses = known_losses(REGULARISATIONS, lambda each: _loss(each, x, labels, groups, seed))
    scaler, logistic = _fit(best_of(losses, DEFAULT_REGULARISATION), x, labels)
    linear = Linear(
        mean=scaler.mean_.astype(np.float32),
        scale=(scaler.scale_ / _emphasis(x.shape[1])).astype(np.float32),
        weights=logistic.coef_[0].astype(np.float32),
        bias=float(logistic.intercept_[0]),
    )
    return Stacked(trees, linear)


def _unseen_logits(features: Float32, labels: Array, groups: Array, seed: int) -> Array:
    """The trees' logit of each row [n] from a fit without its user."""
    distinct = len(np.unique(groups))
    fold = folds([str(group) for group in groups], min(STACKING_FOLDS, distinct), seed)
    logits = np.zeros(len(labels))
    for held_out in range(min(STACKING_FOLDS, distinct)):
        train, test = np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)
        if len(np.unique(labels[train])) == 2:
            logits[test] = fit_boosting(features[train], labels[train], seed)[0].decision_function(features[test])
    return logits


def _emphasis(width: int) -> Array:
    emphasis = np.ones(width)
    emphasis[-1] = TREE_EMPHASIS
    return emphasis


def _fit(regularisation: float, x: Array, labels: Array) -> tuple[Any, Any]:
    scaler = StandardScaler().fit(x)
    logistic = LogisticRegression(C=regularisation, max_iter=1000)
    return scaler, logistic.fit(scaler.transform(x) * _emphasis(x.shape[1]), labels)


def _loss(regularisation: float, x: Array, labels: Array, groups: Array, seed: int) -> float | None:
    def predict(train: Int64, test: Int64) -> Array:
        scaler, logistic = _fit(regularisation, x[train], labels[train])
        probabilities: Array = logistic.predict_proba(scaler.transform(x[test]) * _emphasis(x.shape[1]))[:, 1]
        return probabilities

    return cross_validated_log_loss(predict, labels, groups, seed)
