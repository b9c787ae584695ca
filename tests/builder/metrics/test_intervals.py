import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pragmatiq_builder.metrics import intervals
from pragmatiq_builder.metrics.intervals import Estimate, bootstrap
from pragmatiq_builder.metrics.metrics import METRICS
from pragmatiq_triton.errors import ConfigError, DataError
from tests.builder.metrics.conftest import knowing, simulated


def width(estimate: intervals.Estimate | intervals.Difference) -> float:
    return estimate.high - estimate.low


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """The classes lie one standard deviation apart, so the AUC is Phi(1 / sqrt 2) = 0.760."""
    covered = 0
    for seed in range(60):
        labels, users, noise = simulated(seed, users=150, rows_per_user=1)
        found = bootstrap(labels, users, {"m": knowing(labels, noise, 1.0)}, "m", seed=seed, replicates=100)
        covered += found.estimates["m"]["roc_auc"].low <= 0.7602 <= found.estimates["m"]["roc_auc"].high
    assert 50 <= covered <= 60


def test_the_interval_is_that_of_sklearn_on_repeated_rows() -> None:
    labels, users, noise = simulated(users=60)
    scores = knowing(labels, noise, 1.0)
    rng = np.random.default_rng(5)
    values = []
    for _ in range(100):
        drawn = rng.integers(60, size=60)
        rows = np.concatenate([np.flatnonzero(users == user) for user in drawn])
        values.append(roc_auc_score(labels[rows], scores[rows]))
    found = bootstrap(labels, users, {"m": scores}, "m", seed=5, replicates=100).estimates["m"]["roc_auc"]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    assert found.value == pytest.approx(roc_auc_score(labels, scores))


def test_copies_of_a_users_rows_add_no_evidence() -> None:
    labels, users, noise = simulated(users=200, rows_per_user=1)
    scores = knowing(labels, noise, 1.0)
    copies = [np.repeat(column, 4) for column in (labels, users, scores)]
    once = bootstrap(labels, users, {"m": scores}, "m", replicates=300).estimates["m"]["roc_auc"]
    by_user = bootstrap(*copies[:2], {"m": copies[2]}, "m", replicates=300).estimates["m"]["roc_auc"]
    by_row = bootstrap(copies[0], np.arange(800), {"m": copies[2]}, "m", replicates=300).estimates["m"]["roc_auc"]
    assert (by_user.low, by_user.high) == pytest.approx((once.low, once.high))
    assert width(by_user) > 1.5 * width(by_row)


def test_pairing_narrows_the_difference_of_models_that_err_alike() -> None:
    labels, users, noise = simulated()
    other = noise + 0.2 * np.random.default_rng(1).normal(size=len(labels))
    scores = {"a": knowing(labels, noise, 1.0), "b": knowing(labels, other, 1.0)}
    found = bootstrap(labels, users, scores, "a", replicates=300)
    assert width(found.differences["b"]["roc_auc"]) < width(found.estimates["a"]["roc_auc"]) / 2


def test_verdicts_follow_the_differences_interval() -> None:
    seen = set()
    for seed, strength in enumerate((0.0, 0.8, 0.9, 1.0, 1.1, 1.5)):
        labels, users, noise = simulated(seed)
        rng = np.random.default_rng(seed)
        scores = {"a": knowing(labels, noise, 1.0), "b": knowing(labels, rng.normal(size=len(labels)), strength)}
        for metric, difference in bootstrap(labels, users, scores, "a", replicates=200).differences["b"].items():
            gain = (difference.low, difference.high)
            if METRICS[metric].lower_is_better:
                gain = (-difference.high, -difference.low)
            expected = "better" if gain[0] > 0 else "worse" if gain[1] < 0 else "not distinguishable"
            assert difference.verdict == expected, metric
            seen.add(expected)
    assert seen == {"better", "worse", "not distinguishable"}


def test_equal_models_are_not_distinguishable() -> None:
    labels, users, noise = simulated(users=50)
    scores = knowing(labels, noise, 1.0)
    found = bootstrap(labels, users, {"a": scores, "b": scores}, "a", replicates=50)
    assert {difference.verdict for difference in found.differences["b"].values()} == {"not distinguishable"}


def test_separate_intervals_do_not_overlap() -> None:
    labels, users, noise = simulated()
    scores = {"strong": knowing(labels, noise, 3.0), "weak": knowing(labels, noise, 0.2)}
    found = bootstrap(labels, users, scores, "strong", replicates=100)
    assert found.estimates["strong"]["roc_auc"].low > found.estimates["weak"]["roc_auc"].high
    assert found.differences["weak"]["roc_auc"].separate
    turned = bootstrap(labels, users, scores, "weak", replicates=100).differences["strong"]["roc_auc"]
    assert (turned.verdict, turned.separate) == ("worse", True)


def test_too_few_positive_users_make_no_verdict() -> None:
    labels = np.zeros(100, dtype=int)
    labels[:5] = 1
    scores = {"right": labels * 0.8 + 0.1, "wrong": 0.9 - labels * 0.8}
    found = bootstrap(labels, np.arange(100), scores, "right", replicates=100).differences["wrong"]["roc_auc"]
    assert found.low > 0
    assert found.verdict == "not distinguishable"


def test_draws_without_a_class_are_left_out_and_counted() -> None:
    """With one positive user among many, a draw misses it with probability 1 / e."""
    labels = np.zeros(200, dtype=int)
    labels[7] = 1
    scores = np.random.default_rng(0).random(200)
    found = bootstrap(labels, np.arange(200), {"m": scores}, "m", replicates=400)
    assert 0.28 < found.left_out / 400 < 0.46
    assert all(np.isfinite([e.value, e.low, e.high]).all() for e in found.estimates["m"].values())


def test_more_than_half_of_the_draws_without_a_class_is_an_error() -> None:
    """Of two users one has all the positives and the other all the negatives: half of the draws take one twice."""
    labels = np.array([0, 0, 1, 1])
    with pytest.raises(DataError, match=r"of 41 draws of the 2 users lack a class.*more users"):
        bootstrap(labels, np.array([0, 0, 1, 1]), {"m": labels / 2}, "m", seed=0, replicates=41)


def test_draws_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, users, noise = simulated(users=40)
    scores = {"m": knowing(labels, noise, 1.0)}
    at_once = bootstrap(labels, users, scores, "m", replicates=60).estimates["m"]
    monkeypatch.setattr(intervals, "_CHUNK_ELEMENTS", 7 * len(labels))
    in_chunks = bootstrap(labels, users, scores, "m", replicates=60).estimates["m"]
    for metric, estimate in at_once.items():
        other = in_chunks[metric]
        assert (other.low, other.high) == pytest.approx((estimate.low, estimate.high)), metric


def test_the_seed_decides() -> None:
    labels, users, noise = simulated(users=40)
    scores = {"m": knowing(labels, noise, 1.0)}
    first, again, other = (bootstrap(labels, users, scores, "m", seed=s, replicates=50).estimates for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert isinstance(first["m"]["ks"], Estimate)


def test_misuse_is_named() -> None:
    labels, users, noise = simulated(users=20)
    scores = {"m": knowing(labels, noise, 1.0)}
    with pytest.raises(ConfigError, match=r"candidate 'x' has no scores; there are: m"):
        bootstrap(labels, users, scores, "x")
    with pytest.raises(ConfigError, match=r"at least 40 .* got 10"):
        bootstrap(labels, users, scores, "m", replicates=10)
    with pytest.raises(DataError, match=r"one user per row \(40,\), got \(39,\)"):
        bootstrap(labels, users[1:], scores, "m")
    with pytest.raises(DataError, match=r"no positive label"):
        bootstrap(np.zeros(40), users, scores, "m")
