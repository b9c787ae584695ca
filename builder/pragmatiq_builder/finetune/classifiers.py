"""Fitting a task's classifier: logistic regression for few rows or plain signals, boosted trees for the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pragmatiq_builder.finetune.splits import folds
from pragmatiq_builder.heads import Classifier, Linear, Trees
from pragmatiq_triton.batch import Float32, Int64
from pragmatiq_triton.errors import DataError

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
ClassifierKind = Literal["logistic", "boosting"]


@dataclass(frozen=True, slots=True)
class Boosting:
    """How trees are grown; ``min_rows_per_leaf`` gives way where rows are few."""

    leaves: int
    trees: int
    learning_rate: float
    l2: float
    min_rows_per_leaf: int
    features_per_split: float


BOOSTINGS = (
    Boosting(leaves=6, trees=250, learning_rate=0.03, l2=5.0, min_rows_per_leaf=30, features_per_split=0.3),
    Boosting(leaves=8, trees=400, learning_rate=0.02, l2=20.0, min_rows_per_leaf=60, features_per_split=0.2),
    Boosting(leaves=15, trees=250, learning_rate=0.03, l2=5.0, min_rows_per_leaf=40, features_per_split=0.3),
)
"""Tried in this order: small trees win on few rows, larger ones where fields act together."""
ROWS_TO_CHOOSE = 20_000
"""More rows than these are drawn from, to choose how trees are grown: it takes seconds then, not minutes."""

FOLDS = 3
REGULARISATIONS = (0.001, 0.01, 0.1, 1.0)
"""Inverse strengths of the L2 penalty, tried in this order."""
DEFAULT_REGULARISATION = 0.1


def fit_classifier(kind: ClassifierKind, x: Float32, labels: Array, groups: Array, seed: int) -> Classifier:
    """Fit ``x`` float32 [n, f], NaN where unknown, to ``labels`` 0 or 1 [n] of the users ``groups`` [n].

    A logistic regression's penalty is the best of :data:`REGULARISATIONS` for users not seen, or the default where
    that cannot be said. Raises :class:`DataError` for infinite numbers and where a class is missing.
    """
    _check(x, labels)
    if kind == "boosting":
        return fit_boosting(x, labels, seed, choose_boosting(x, labels, groups, seed))[1]
    regularisation = best_of(_logistic_losses(x, labels, groups, seed), DEFAULT_REGULARISATION)
    return _linear(_fit(_logistic(regularisation), x, labels))


def fit_boosting(
    x: Float32, labels: Array, seed: int, boosting: Boosting
) -> tuple[HistGradientBoostingClassifier, Trees]:
    """Boosted trees as scikit-learn has them, and as they are exported."""
    _check(x, labels)
    model = _fit(_boosting(boosting, len(x), seed), x, labels)
    return model, _trees(model, x.shape[1])


def choose_boosting(x: Float32, labels: Array, groups: Array, seed: int) -> Boosting:
    """The one of :data:`BOOSTINGS` with the smallest log loss for users not seen; the first if that cannot be said.

    Arguments are those of :func:`fit_classifier`. Of more than :data:`ROWS_TO_CHOOSE` rows some are drawn.
    """
    if len(x) > ROWS_TO_CHOOSE:
        drawn = np.sort(np.random.default_rng(seed).choice(len(x), ROWS_TO_CHOOSE, replace=False))
        x, labels, groups = x[drawn], labels[drawn], groups[drawn]
    losses = {each: _loss(_boosting(each, len(x), seed), x, labels, groups, seed) for each in BOOSTINGS}
    known = {each: loss for each, loss in losses.items() if loss is not None}
    return min(known, key=known.__getitem__, default=BOOSTINGS[0])


def choose_classifier(x: Float32, labels: Array, groups: Array, seed: int) -> ClassifierKind:
    """The kind with the smaller log loss for users not seen; logistic for a tie and where there are too few users.

    Arguments and errors are those of :func:`fit_classifier`.
    """
    _check(x, labels)
    logistic = _logistic_losses(x, labels, groups, seed)
    boosting = _loss(_boosting(BOOSTINGS[0], len(x), seed), x, labels, groups, seed) if logistic else None
    return "boosting" if boosting is not None and boosting < min(logistic.values()) else "logistic"


def known_losses(choices: Sequence[float], loss: Callable[[float], float | None]) -> dict[float, float]:
    """The ``loss`` of each choice that has one."""
    losses = {each: loss(each) for each in choices}
    return {each: found for each, found in losses.items() if found is not None}


def best_of(losses: Mapping[float, float], default: float) -> float:
    """The choice of the smallest loss, the first of them in a tie; ``default`` where no loss is known."""
    return min(losses, key=losses.__getitem__, default=default)


def cross_validated_log_loss(
    predict: Callable[[Int64, Int64], Float64], labels: Array, groups: Array, seed: int
) -> float | None:
    """The mean of :func:`cross_validated_log_losses`; None where they cannot be said."""
    losses = cross_validated_log_losses(predict, labels, groups, seed)
    return None if losses is None else float(losses.mean())


def cross_validated_log_losses(
    predict: Callable[[Int64, Int64], Float64], labels: Array, groups: Array, seed: int
) -> Float64 | None:
    """The log loss of each row by a fit that its user was no part of, float64 [n], in :data:`FOLDS` folds of users.

    ``predict(train, test)``: probabilities of the rows numbered ``test`` from those numbered ``train``. None where
    there are fewer users than folds or a fold lacks a class.
    """
    if len(np.unique(groups)) < FOLDS:
        return None
    fold = folds([str(group) for group in groups], FOLDS, seed)
    if any(len(np.unique(labels[fold == held_out])) < 2 for held_out in range(FOLDS)):
        return None
    probabilities = np.empty(len(labels))
    for held_out in range(FOLDS):
        test = np.flatnonzero(fold == held_out)
        probabilities[test] = predict(np.flatnonzero(fold != held_out), test)
    of_label = np.where(labels == 1, probabilities, 1 - probabilities)
    losses: Float64 = -np.log(np.clip(of_label, np.finfo(np.float64).eps, 1))
    return losses


def _check(x: Float32, labels: Array) -> None:
    infinite = np.isinf(x)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise DataError(f"row {row}, column {column} is {x[row, column]}, expected a finite number, or NaN if unknown")
    require_both_classes(labels)


def require_both_classes(labels: Array) -> None:
    """Raises :class:`DataError` unless ``labels`` [n] are 0 and 1, each at least once."""
    if not np.array_equal(classes := np.unique(labels), [0, 1]):
        raise DataError(f"{len(labels)} rows with labels {classes.tolist()}, expected both 0 and 1; give more labels")


def _logistic_losses(x: Float32, labels: Array, groups: Array, seed: int) -> dict[float, float]:
    """The loss of every regularisation, none where they cannot be compared."""
    return known_losses(REGULARISATIONS, lambda each: _loss(_logistic(each), x, labels, groups, seed))


def _loss(model: Any, x: Float32, labels: Array, groups: Array, seed: int) -> float | None:
    def predict(train: Int64, test: Int64) -> Float64:
        return cast(Float64, _fit(model, x[train], labels[train]).predict_proba(x[test])[:, 1])

    return cross_validated_log_loss(predict, labels, groups, seed)


def _fit(model: Any, x: Float32, labels: Array) -> Any:
    # Neither model takes a column without a single number; a constant one has no effect.
    return model.fit(np.where(np.isnan(x).all(axis=0), np.float32(0), x), labels)


def _logistic(regularisation: float) -> Pipeline:
    return make_pipeline(
        StandardScaler(),
        # Behind the scaler 0 is the mean.
        SimpleImputer(strategy="constant", fill_value=0.0),
        LogisticRegression(C=regularisation, max_iter=1000),
    )


def _linear(pipeline: Pipeline) -> Linear:
    scaler, _, logistic = (step for _, step in pipeline.steps)
    return Linear(
        mean=scaler.mean_.astype(np.float32),
        scale=scaler.scale_.astype(np.float32),
        weights=logistic.coef_[0].astype(np.float32),
        bias=float(logistic.intercept_[0]),
    )


def useful_columns(x: Float32) -> Int64:
    """The columns that tell something and are not there already: neither constant nor equal to an earlier one.

    int64 [n_useful] of ``x`` [n, f], NaN where unknown; the first column where there is no other. A column that comes
    twice would have twice the chance to be drawn when a tree splits.
    """
    seen: set[bytes] = set()
    useful = []
    for column in range(x.shape[1]):
        values = np.ascontiguousarray(x[:, column]) + np.float32(0)  # -0.0 is 0.0
        values[np.isnan(values)] = np.nan
        key = values.tobytes()
        if key not in seen and not (values == values[0]).all() and not np.isnan(values).all():
            useful.append(column)
        seen.add(key)
    return np.asarray(useful or [0], np.int64)


def _boosting(boosting: Boosting, n_rows: int, seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=boosting.trees,
        learning_rate=boosting.learning_rate,
        max_leaf_nodes=boosting.leaves,
        min_samples_leaf=min(boosting.min_rows_per_leaf, max(5, n_rows // 50)),
        l2_regularization=boosting.l2,
        max_features=boosting.features_per_split,
        early_stopping=False,
        random_state=seed,
    )


def _trees(model: HistGradientBoostingClassifier, n_inputs: int) -> Trees:
    """The trees of ``model``, in which every float32 row falls into the same leaves."""
    # scikit-learn has no public view of them. Nor is its converter to ONNX used: skl2onnx rounds thresholds to the
    # nearest float32, which can lie above, where a value just over the threshold changes sides.
    per_tree = [predictor.nodes for (predictor,) in model._predictors]
    sizes = [len(nodes) for nodes in per_tree]
    first = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    nodes = np.concatenate(per_tree)
    is_leaf = nodes["is_leaf"].astype(np.bool_)
    return Trees(
        n_inputs=n_inputs,
        tree=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        feature=np.where(is_leaf, 0, nodes["feature_idx"]).astype(np.int32),
        threshold=round_down(np.where(is_leaf, 0.0, nodes["num_threshold"])),
        true_child=np.where(is_leaf, -1, first + nodes["left"]).astype(np.int32),
        false_child=np.where(is_leaf, -1, first + nodes["right"]).astype(np.int32),
        missing_to_true=~is_leaf & nodes["missing_go_to_left"].astype(np.bool_),
        value=np.where(is_leaf, nodes["value"], 0.0).astype(np.float32),
        base=float(model._baseline_prediction.item()),
    )


def round_down(thresholds: Float64) -> Float32:
    """The largest float32 not above each float64: ``x <= threshold`` stays the same for every float32 ``x``."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
