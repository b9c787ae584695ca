from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import HistGradientBoostingClassifier

from pragmatiq_builder.finetune import classifiers
from pragmatiq_builder.finetune.classifiers import (
    Array,
    ClassifierKind,
    choose_classifier,
    cross_validated_log_loss,
    fit_classifier,
    round_down,
)
from pragmatiq_builder.heads import Classifier, Head, HeadScorer, Linear, Platt, Trees, heads_graph
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError

F32 = np.float32


def logits(classifier: Classifier, x: Array) -> Array:
    """Of the graph [n]."""
    names = tuple(f"x{i}" for i in range(classifier.n_inputs))
    head = Head("task", "probe", "user", ("features",), names, classifier, Platt(1.0, 0.0), {})
    return HeadScorer(heads_graph([head], {}, names, calibrated=False))({"features": x.astype(F32)})[:, 0]


def rows(n: int, seed: int = 0, interaction: bool = False) -> tuple[npt.NDArray[np.float32], Array, Array]:
    """Five columns, of which two tell the label, and users of one to three rows each."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(F32)
    signal = 3 * x[:, 0] * x[:, 1] if interaction else x[:, 0] - x[:, 1]
    labels = (rng.random(n) < 1 / (1 + np.exp(-signal))).astype(np.int8)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x, labels, np.repeat(np.arange(n), rng.integers(1, 4, n))[:n]


class Boosted:
    """A fitted model and its conversion, few trees so that a wrong leaf shows."""

    def __init__(self, x: Array, labels: Array) -> None:
        model = HistGradientBoostingClassifier(
            max_iter=8, learning_rate=0.5, min_samples_leaf=1, max_leaf_nodes=8, early_stopping=False, random_state=0
        )
        self.model = classifiers._fit(model, x, labels)
        self.trees = classifiers._trees(self.model, x.shape[1])

    def adversarial(self, seed: int) -> Array:
        """Rows of thresholds, their neighbours, unknowns and the ends of float32."""
        edges = self.trees.threshold
        ends = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(F32).max, np.finfo(F32).min], F32)
        values = np.concatenate([edges, np.nextafter(edges, F32(-np.inf)), np.nextafter(edges, F32(np.inf)), ends])
        return np.random.default_rng(seed).choice(values, (400, self.trees.n_inputs))


@st.composite
def training_rows(draw: st.DrawFn) -> tuple[Array, Array]:
    """Few distinct values, many of them neighbours in float32, so that thresholds lie between neighbours."""
    start = draw(st.floats(-1e6, 1e6, width=32))
    values = [F32(start)]
    for _ in range(draw(st.integers(1, 6))):
        values.append(np.nextafter(values[-1], F32(np.inf)))
    values += [F32(np.nan)] * draw(st.booleans())
    choice = draw(arrays(np.int64, (60, 2), elements=st.integers(0, len(values) - 1)))
    labels = draw(arrays(np.int8, 60, elements=st.integers(0, 1)))
    labels[:2] = 0, 1
    return np.array(values)[choice], labels


@given(training_rows(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_trees_lead_every_row_to_the_same_leaves(training: tuple[Array, Array], seed: int) -> None:
    boosted = Boosted(*training)
    x = boosted.adversarial(seed)
    np.testing.assert_allclose(logits(boosted.trees, x), boosted.model.decision_function(x), atol=1e-5, rtol=1e-6)


def test_a_threshold_between_neighbours_keeps_them_apart() -> None:
    below = np.nextafter(F32(1), F32(2))
    above = np.nextafter(below, F32(2))
    # The nearest float32 to their midpoint is the upper one.
    assert F32((np.float64(below) + np.float64(above)) / 2) == above
    labels = np.tile([0, 1], 50).astype(np.int8)
    trees = fit_classifier("boosting", np.where(labels, above, below)[:, np.newaxis], labels, np.arange(100), 0)
    low, high = logits(trees, np.array([[below], [above]]))
    assert low < -1 < 1 < high


@given(st.floats(allow_nan=False))
def test_rounding_down_changes_no_comparison(threshold: float) -> None:
    rounded = round_down(np.array([threshold]))[0]
    with np.errstate(over="ignore"):
        below, above = (np.nextafter(rounded, F32(side)) for side in (-np.inf, np.inf))
    near = np.array([rounded, below, above, np.inf, -np.inf], F32)
    np.testing.assert_array_equal(near <= rounded, near.astype(np.float64) <= threshold)


def test_boosting_is_scikit_learns() -> None:
    x, labels, groups = rows(600)
    chosen = classifiers.choose_boosting(x, labels, groups, 3)
    trees = fit_classifier("boosting", x, labels, groups, seed=3)
    model = classifiers._boosting(chosen, len(x), 3).fit(x, labels)
    np.testing.assert_allclose(logits(trees, x), model.decision_function(x), atol=1e-5)
    assert isinstance(trees, Trees)
    assert trees.tree[-1] == chosen.trees - 1


def test_trees_without_a_split_are_the_base_rate() -> None:
    labels = np.array([0, 0, 0, 1] * 10)
    trees = fit_classifier("boosting", np.ones((40, 1), F32), labels, np.arange(40), 0)
    np.testing.assert_allclose(logits(trees, np.array([[1.0], [np.nan]])), np.log(1 / 3), atol=1e-5)


@pytest.mark.parametrize("kind", ["logistic", "boosting"])
def test_classifiers_learn_and_repeat(kind: ClassifierKind) -> None:
    x, labels, groups = rows(1500)
    classifier = fit_classifier(kind, x[:1000], labels[:1000], groups[:1000], seed=0)
    guessed = logits(classifier, x[1000:]) > 0
    assert np.mean(guessed == labels[1000:]) > 0.65
    again = fit_classifier(kind, x[:1000], labels[:1000], groups[:1000], seed=0)
    np.testing.assert_array_equal(logits(classifier, x), logits(again, x))


def test_logistic_counts_unknown_as_the_mean_and_constants_not_at_all() -> None:
    x, labels, groups = rows(300)
    x = np.column_stack([x, np.full(300, 7, F32), np.full(300, np.nan, F32)])
    linear = fit_classifier("logistic", x, labels, groups, seed=0)
    assert isinstance(linear, Linear)
    np.testing.assert_allclose(linear.mean, np.append(np.nanmean(x[:, :6], axis=0), 0), atol=1e-6)
    np.testing.assert_array_equal(linear.scale[5:], 1)
    np.testing.assert_array_equal(linear.weights[6:], 0)
    unknown, mean = logits(linear, np.stack([np.full(7, np.nan), linear.mean]))
    assert unknown == mean
    np.testing.assert_allclose(mean, linear.bias, rtol=1e-6)


def test_noise_is_regularised_more_than_a_signal() -> None:
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(200, 30)).astype(F32), np.arange(200)
    noise, signal = rng.integers(0, 2, 200), (x[:, 0] > 0).astype(np.int64)
    norms = [
        float(np.linalg.norm(cast(Linear, fit_classifier("logistic", x, labels, groups, seed=0)).weights))
        for labels in (noise, signal)
    ]
    assert norms[0] < 0.1 < 1 < norms[1]


def test_few_users_get_the_default_regularisation(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, _ = rows(40)
    two_users = np.arange(40) % 2
    first = fit_classifier("logistic", x, labels, two_users, seed=0)
    monkeypatch.setattr(classifiers, "REGULARISATIONS", (0.1,))
    alone = fit_classifier("logistic", x, labels, np.arange(40), seed=0)
    np.testing.assert_array_equal(logits(first, x), logits(alone, x))


def test_the_better_kind_is_chosen() -> None:
    assert choose_classifier(*rows(500), seed=0) == "logistic"
    assert choose_classifier(*rows(700, interaction=True), seed=0) == "boosting"
    x, labels, _ = rows(700, interaction=True)
    assert choose_classifier(x, labels, np.arange(700) % 2, seed=0) == "logistic"


def test_cross_validation_keeps_users_apart() -> None:
    _, labels, groups = rows(90)
    tested = []

    def predict(train: Int64, test: Int64) -> Array:
        assert not set(groups[train]) & set(groups[test])
        tested.extend(test.tolist())
        return np.full(len(test), 0.25)

    loss = cross_validated_log_loss(predict, labels, groups, seed=0)
    assert sorted(tested) == list(range(90))
    assert loss == pytest.approx(-np.mean(np.where(labels, np.log(0.25), np.log(0.75))))


def test_cross_validation_needs_both_classes_in_every_fold() -> None:
    def predict(train: Int64, test: Int64) -> Any:
        raise AssertionError("nothing to compare")

    one_positive = np.eye(1, 90, dtype=np.int8)[0]
    assert cross_validated_log_loss(predict, one_positive, np.arange(90), seed=0) is None


@pytest.mark.parametrize("kind", ["logistic", "boosting"])
def test_a_column_without_a_number_has_no_effect(kind: ClassifierKind) -> None:
    x, labels, groups = rows(200)
    x[:, 3] = np.nan
    classifier = fit_classifier(kind, x, labels, groups, seed=0)
    known = x.copy()
    known[:, 3] = 5
    np.testing.assert_array_equal(logits(classifier, known), logits(classifier, x))


@pytest.mark.parametrize("kind", ["logistic", "boosting"])
def test_rows_that_cannot_be_fitted_are_refused(kind: ClassifierKind) -> None:
    x, labels, groups = rows(30)
    with pytest.raises(DataError, match=r"30 rows with labels \[0\]"):
        fit_classifier(kind, x, np.zeros(30, np.int8), groups, 0)
    x[4, 2] = -np.inf
    with pytest.raises(DataError, match="row 4, column 2 is -inf"):
        fit_classifier(kind, x, labels, groups, 0)
    with pytest.raises(DataError, match="row 4"):
        choose_classifier(x, labels, groups, 0)


def test_columns_that_tell_nothing_or_twice_the_same_are_not_useful() -> None:
    x = np.array([[1, 2, 2, np.nan, 5, np.nan, -0.0], [1, 3, 3, np.nan, np.nan, 4, 0.0]], F32)
    assert classifiers.useful_columns(x).tolist() == [1, 4, 5]
    assert classifiers.useful_columns(x[:, :1]).tolist() == [0]


def test_small_trees_are_chosen_where_large_ones_learn_noise() -> None:
    x, labels, groups = rows(300)
    assert classifiers.choose_boosting(x, labels, groups, 0).leaves < 15
    one_class = np.zeros(300, np.int8)
    assert classifiers.choose_boosting(x, one_class, groups, 0) == classifiers.BOOSTINGS[0]
