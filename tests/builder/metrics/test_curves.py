import numpy as np
import pytest
from scipy.stats import binomtest

from pragmatiq_builder.metrics.curves import MAX_POINTS, curves
from pragmatiq_builder.metrics.metrics import measure
from tests.builder.metrics.conftest import knowing, simulated


@pytest.mark.parametrize("users", [40, 3000])
def test_the_area_below_the_points_is_the_metric(users: int) -> None:
    labels, owners, noise = simulated(users=users)
    scores = knowing(labels, noise, 1.0)
    found, exact = curves(labels, owners, scores), measure(labels, scores)
    assert len(found.roc.x) <= MAX_POINTS
    assert len(found.precision_recall.x) <= MAX_POINTS
    assert (found.roc.x[0], found.roc.y[0], found.roc.x[-1], found.roc.y[-1]) == (0, 0, 1, 1)
    assert found.precision_recall.x[-1] == 1
    assert np.trapezoid(found.roc.y, found.roc.x) == pytest.approx(exact["roc_auc"], abs=3e-3)
    recall, precision = found.precision_recall.x, found.precision_recall.y
    assert np.trapezoid(precision, recall) == pytest.approx(exact["pr_auc"], abs=1e-2)


def test_reliability_with_one_row_per_user_has_wilsons_interval() -> None:
    labels, users, noise = simulated(users=500, rows_per_user=1)
    scores = knowing(labels, noise, 1.0)
    bins = curves(labels, users, scores).reliability
    order = np.argsort(scores)
    for i, part in enumerate(np.split(order, 10)):
        hits = int(labels[part].sum())
        interval = binomtest(hits, 50).proportion_ci(method="wilson")
        assert bins.predicted[i] == pytest.approx(scores[part].mean())
        assert bins.observed[i] == pytest.approx(hits / 50)
        assert (bins.low[i], bins.high[i]) == pytest.approx((interval.low, interval.high))


def test_copies_of_a_users_rows_do_not_narrow_reliability() -> None:
    labels, users, noise = simulated(users=500, rows_per_user=1)
    scores = knowing(labels, noise, 1.0)
    once = curves(labels, users, scores).reliability
    copies = curves(*(np.repeat(column, 5) for column in (labels, users, scores))).reliability
    assert copies.rows == pytest.approx([250] * 10)
    assert copies.low == pytest.approx(once.low)
    assert copies.high == pytest.approx(once.high)


def test_one_score_for_all_divides_its_rows_between_the_bins() -> None:
    labels = np.arange(40) % 4 == 0
    bins = curves(labels, np.arange(40), np.full(40, 0.5)).reliability
    assert bins.rows == pytest.approx([4] * 10)
    assert bins.observed == pytest.approx([0.25] * 10)
    assert bins.predicted == pytest.approx([0.5] * 10)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_histogram_shares_sum_to_one_and_small_scores_get_a_log_axis(scale: float) -> None:
    labels, users, noise = simulated()
    scores = knowing(labels, noise, 1.0) * scale
    scores[:3] = 0.0
    found = curves(labels, users, scores).histogram
    assert found.log == (scale < 1)
    assert sum(found.negatives) == pytest.approx(1)
    assert sum(found.positives) == pytest.approx(1)
    assert len(found.edges) == len(found.negatives) + 1


def test_scores_of_zero_alone_can_be_drawn() -> None:
    labels = np.arange(20) % 2
    found = curves(labels, np.arange(20), np.zeros(20)).histogram
    assert found.positives[0] == pytest.approx(1)
