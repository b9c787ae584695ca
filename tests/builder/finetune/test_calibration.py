import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from pragmatiq_builder.finetune import calibration
from pragmatiq_builder.finetune.calibration import fit_calibrator
from pragmatiq_builder.finetune.classifiers import Array
from pragmatiq_builder.heads import Calibrator, Head, HeadScorer, Isotonic, Linear, Platt, heads_graph
from pragmatiq_triton.errors import DataError


def probabilities(calibrator: Calibrator, logits: Array) -> Array:
    """Of the graph [n]."""
    one = np.ones(1, np.float32)
    head = Head("task", "probe", "user", ("features",), ("x",), Linear(0 * one, one, one, 0.0), calibrator, {})
    features = np.asarray(logits, np.float32)[:, np.newaxis]
    return HeadScorer(heads_graph([head], {}, ["x"]))({"features": features})[:, 0].astype(np.float64)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def simulate(rng: np.random.Generator, n: int, rate: Array) -> Array:
    return (rng.random(n) < rate).astype(np.int8)


def test_overconfident_logits_get_platts_line() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4000) * 3
    labels = simulate(rng, 4000, sigmoid(logits / 3 - 1))
    platt = fit_calibrator(logits[:2000], labels[:2000], np.arange(2000), seed=0)
    assert isinstance(platt, Platt)
    assert platt.slope == pytest.approx(1 / 3, rel=0.2)
    assert platt.intercept == pytest.approx(-1, rel=0.2)
    after, before = probabilities(platt, logits[2000:]), sigmoid(logits[2000:])
    assert log_loss(labels[2000:], after) < log_loss(labels[2000:], before) - 0.1


def rows_of_steps(n: int) -> tuple[Array, Array]:
    """Logits and labels whose rate has two steps, which no line fits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=n) * 2
    return logits, simulate(rng, n, np.where(logits > 1, 0.9, np.where(logits > -1, 0.5, 0.02)))


def test_a_rate_that_is_no_line_gets_isotonic() -> None:
    logits, labels = rows_of_steps(8000)
    isotonic = fit_calibrator(logits[:4000], labels[:4000], np.arange(4000), seed=0)
    assert isinstance(isotonic, Isotonic)
    platt = calibration._fit_platt(logits[:4000], labels[:4000])
    losses = [log_loss(labels[4000:], probabilities(each, logits[4000:])) for each in (isotonic, platt)]
    assert losses[0] < losses[1] - 0.01
    assert np.mean(probabilities(isotonic, logits[4000:])) == pytest.approx(labels[4000:].mean(), abs=0.02)


def test_isotonic_needs_users_to_compare_on() -> None:
    logits, labels = rows_of_steps(4000)
    assert isinstance(fit_calibrator(logits, labels, np.arange(4000) % 2, seed=0), Platt)


@pytest.mark.parametrize(("n_positives", "kind"), [(49, Platt), (50, Isotonic)])
def test_isotonic_needs_fifty_positives(n_positives: int, kind: type) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.array([1, 0], np.int8), [n_positives, 500])
    # As many negatives among the positives, none of these among the rest.
    among = np.arange(len(labels)) < 2 * n_positives
    logits = np.where(among, rng.uniform(0, 10, len(labels)), rng.uniform(-3, 0, len(labels)))
    assert isinstance(fit_calibrator(logits, labels, np.arange(len(labels)), seed=0), kind)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(4, 400),
    slope=st.floats(-3, 3),
    offset=st.floats(-5, 5),
    decimals=st.integers(0, 6),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
@settings(max_examples=60, deadline=None)
def test_probabilities_rise_with_the_logit_and_do_not_tie(
    seed: int, n: int, slope: float, offset: float, decimals: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = np.round(rng.standard_t(2, n), decimals)
    labels = simulate(rng, n, sigmoid(slope * logits + offset))
    labels[:2] = 0, 1
    logits = (scale * logits).astype(np.float32).astype(np.float64)
    everywhere = np.sort(np.concatenate([logits, np.linspace(logits.min() - scale, logits.max() + scale, 2000)]))
    for fit in (calibration._fit_platt, calibration._fit_isotonic):
        scores = probabilities(fit(logits, labels), everywhere)
        assert np.all(np.diff(scores) >= 0)
        assert np.all((scores > 0) & (scores < 1))


def test_isotonic_does_not_tie() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=3000).astype(np.float32)
    labels = simulate(rng, 3000, np.where(logits > 0, 0.9, 0.1))
    isotonic = calibration._fit_isotonic(logits.astype(np.float64), labels)
    assert isinstance(isotonic, Isotonic)
    distinct = np.unique(logits)
    scores = probabilities(isotonic, distinct)
    # The outermost logits may round to the same cell as the ends.
    assert len(np.unique(scores)) > 0.99 * len(distinct)


def test_isotonic_does_not_jump_between_near_logits() -> None:
    logits = np.repeat([-1, 0, 1e-5, 1], 100)
    labels = np.concatenate([np.repeat(np.array([0, 1], np.int8), [100 - n, n]) for n in (0, 30, 70, 100)])
    isotonic = calibration._fit_isotonic(logits, labels)
    assert isinstance(isotonic, Isotonic)
    steepest = np.max(np.diff(isotonic.probabilities) / np.diff(isotonic.logits))
    assert steepest < calibration.STEPS / logits.std()


def test_isotonic_ends_are_neither_0_nor_1() -> None:
    logits = np.linspace(-1, 1, 400)
    labels = (logits > 0).astype(np.int8)
    scores = probabilities(calibration._fit_isotonic(logits, labels), logits)
    assert 1 / 1000 < scores[0] < 1 / 200
    assert 1 - 1 / 200 < scores[-1] < 1 - 1 / 1000
    assert len(np.unique(scores)) > 390


@pytest.mark.parametrize("n_positives", [1, 20])
def test_few_positives_are_not_overrated(n_positives: int) -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat(np.array([1, 0], np.int8), [n_positives, 2000])
    logits = np.where(labels, 5, rng.normal(size=len(labels)))
    calibrator = fit_calibrator(logits, labels, np.arange(len(labels)), seed=0)
    assert isinstance(calibrator, Platt)
    scores = probabilities(calibrator, logits)
    assert scores[labels == 1].min() > scores[labels == 0].max()
    assert scores.mean() == pytest.approx(labels.mean(), abs=1e-3)


def test_logits_that_separate_the_classes_stay_short_of_certain() -> None:
    labels = np.repeat(np.array([0, 1], np.int8), 100)
    logits = np.where(labels, 1.0, -1.0)
    scores = probabilities(fit_calibrator(logits, labels, np.arange(200), seed=0), logits)
    np.testing.assert_allclose(scores[[0, -1]], [1 / 102, 101 / 102], rtol=0.01)


@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_constant_logits_get_the_base_rate(noise: float) -> None:
    rng = np.random.default_rng(0)
    labels = simulate(rng, 1000, np.full(1000, 0.2))
    logits = -7 + noise * rng.normal(size=1000)
    calibrator = fit_calibrator(logits, labels, np.arange(1000), seed=0)
    assert isinstance(calibrator, Platt)
    np.testing.assert_allclose(probabilities(calibrator, logits), labels.mean(), atol=0.002)


def test_logits_that_rank_the_wrong_way_get_the_base_rate_in_their_order() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=1000)
    labels = simulate(rng, 1000, sigmoid(-2 * logits))
    for calibrator in (
        fit_calibrator(logits, labels, np.arange(1000), seed=0),
        calibration._fit_isotonic(logits, labels),
    ):
        scores = probabilities(calibrator, np.sort(logits))
        assert np.all(np.diff(scores) >= 0)
        assert len(np.unique(scores)) > 900
        np.testing.assert_allclose(scores, labels.mean(), atol=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(DataError, match=f"row 1: the logit is {value}"):
        fit_calibrator(np.array([0.0, value, 1.0]), np.array([0, 1, 1]), np.arange(3), seed=0)


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"labels \[1\]"):
        fit_calibrator(np.zeros(3), np.ones(3, np.int8), np.arange(3), seed=0)
