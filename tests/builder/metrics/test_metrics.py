from random import Random

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from pragmatiq_builder.metrics.metrics import METRICS, RankedScores, measure
from pragmatiq_triton.errors import DataError

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def weighted_rows(draw: st.DrawFn) -> Rows:
    """Labels, scores with many ties and integer weights; each class keeps a weight above 0."""
    n = draw(st.integers(2, 60))
    steps = draw(st.sampled_from([1, 3, 10, 1000]))

    def column(low: int, high: int) -> np.ndarray:
        return np.array(draw(st.lists(st.integers(low, high), min_size=n, max_size=n)))

    labels, weights = column(0, 1), column(0, 4)
    labels[:2], weights[:2] = (0, 1), np.maximum(weights[:2], 1)
    return labels, column(0, steps) / steps, weights


@given(weighted_rows())
def test_equals_sklearn_with_ties_and_weights(rows: Rows) -> None:
    labels, scores, weights = rows
    found = measure(labels, scores, weights)
    for name, reference in {
        "roc_auc": sklearn.metrics.roc_auc_score,
        "pr_auc": sklearn.metrics.average_precision_score,
        "brier": sklearn.metrics.brier_score_loss,
        "log_loss": sklearn.metrics.log_loss,
    }.items():
        assert found[name] == pytest.approx(reference(labels, scores, sample_weight=weights), abs=1e-9), name
    assert found["gini"] == pytest.approx(2 * found["roc_auc"] - 1)


@given(weighted_rows())
def test_an_integer_weight_repeats_the_row(rows: Rows) -> None:
    labels, scores, weights = rows
    repeated = measure(np.repeat(labels, weights), np.repeat(scores, weights))
    assert measure(labels, scores, weights) == pytest.approx(repeated, abs=1e-9)


@given(weighted_rows(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows: Rows, random: Random) -> None:
    shuffled = list(range(len(rows[0])))
    random.shuffle(shuffled)
    assert measure(*(column[shuffled] for column in rows)) == pytest.approx(measure(*rows), abs=1e-9)


@given(weighted_rows())
def test_ks_is_the_two_sample_statistic(rows: Rows) -> None:
    labels, scores, weights = rows
    samples = (np.repeat(scores, weights * (labels == label)) for label in (1, 0))
    assert measure(labels, scores, weights)["ks"] == pytest.approx(ks_2samp(*samples).statistic, abs=1e-9)


@given(weighted_rows(), st.integers(0, 2**32 - 1))
def test_many_weights_at_once_equal_one_at_a_time(rows: Rows, seed: int) -> None:
    labels, scores, weights = rows
    many = np.stack([weights, *np.random.default_rng(seed).uniform(0.1, 2.0, size=(3, len(labels)))])
    together = RankedScores(labels, scores).measure(many)
    for row, single in zip(together, many, strict=True):
        assert dict(zip(METRICS, row, strict=True)) == pytest.approx(measure(labels, scores, single), abs=1e-9)


def test_recall_counts_the_alerts_that_the_rate_allows() -> None:
    scores = np.linspace(0, 1, 1000)
    labels = np.zeros(1000)
    labels[[999, 995, 300, 100]] = 1
    found = measure(labels, scores)
    assert found["recall_at_0.1pct"] == pytest.approx(1 / 4)
    assert found["recall_at_1pct"] == pytest.approx(2 / 4)


def test_recall_alerts_on_one_row_at_least() -> None:
    labels = np.array([0, 0, 1, 0, 1])
    found = measure(labels, np.array([0.1, 0.2, 0.9, 0.3, 0.4]))
    assert found["recall_at_0.1pct"] == found["recall_at_1pct"] == pytest.approx(1 / 2)


def test_recall_takes_ties_at_the_boundary_in_proportion() -> None:
    """10 alerts are allowed; 5 rows lie above, and 5 of the 20 rows that tie, of which 4 are positive."""
    scores = np.repeat([0.9, 0.8, 0.1], [5, 20, 975])
    labels = np.zeros(1000)
    labels[[0, 5, 6, 7, 8, 999]] = 1
    assert measure(labels, scores)["recall_at_1pct"] == pytest.approx((1 + 4 * 5 / 20) / 6)


def test_expected_calibration_error_is_the_mean_gap_of_ten_equal_bins() -> None:
    rng = np.random.default_rng(0)
    scores = np.sort(rng.random(200))
    labels = (rng.random(200) < scores**2).astype(int)
    gaps = [abs(scores[i : i + 20].mean() - labels[i : i + 20].mean()) for i in range(0, 200, 20)]
    assert measure(labels, scores)["expected_calibration_error"] == pytest.approx(np.mean(gaps))


def test_a_constant_score_is_calibrated_where_it_is_the_rate_and_ranks_nothing() -> None:
    labels = np.arange(40) % 4 == 0
    found = measure(labels, np.full(40, 0.25))
    assert found["expected_calibration_error"] == pytest.approx(0)
    assert found["roc_auc"] == pytest.approx(0.5)
    assert found["pr_auc"] == pytest.approx(0.25)
    assert found["ks"] == pytest.approx(0)


@pytest.mark.parametrize(("label", "missing"), [(0, r"positive label \(1\)"), (1, r"negative label \(0\)")])
def test_labels_of_one_class_are_named(label: int, missing: str) -> None:
    with pytest.raises(DataError, match=rf"the 5 rows .* no {missing}.*more users"):
        measure(np.full(5, label), np.linspace(0, 1, 5))


def test_weights_that_leave_one_class_are_named() -> None:
    with pytest.raises(DataError, match=r"no positive label"):
        measure(np.array([0, 1, 0]), np.array([0.1, 0.2, 0.3]), np.array([1, 0, 1]))


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "message"),
    [
        ([0, 2, 1], [0.1, 0.2, 0.3], None, "labels must be 0 or 1, got 2 in row 1"),
        ([0, 1], [0.1, 1.5], None, r"in \[0, 1\], got 1.5 in row 1"),
        ([0, 1], [float("nan"), 0.5], None, r"got nan in row 0"),
        ([0, 1, 1], [0.1, 0.5], None, "one length"),
        ([], [], None, "one length > 0"),
        ([0, 1], [0.1, 0.5], [1, -1], "not negative"),
        ([0, 1], [0.1, 0.5], [1.0, float("inf")], "finite"),
        ([0, 1], [0.1, 0.5], [1], "one per row"),
    ],
)
def test_values_that_do_not_fit_are_named(
    labels: list[int], scores: list[float], weights: list[float] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        measure(np.array(labels), np.array(scores), None if weights is None else np.array(weights))
