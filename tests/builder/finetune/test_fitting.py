from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pragmatiq_builder.finetune.fitting import (
    BASELINES,
    baseline_inputs,
    calibrated,
    fit_baseline,
    fit_head,
    linear_head,
    score,
)
from pragmatiq_builder.finetune.inputs import HeadInputs, LabelledInputs
from pragmatiq_builder.finetune.labels import Kind
from pragmatiq_builder.heads import Head, Linear, Stacked, Trees
from pragmatiq_triton.errors import DataError

NAMES = ["events", "recency", "amount.all.max"]
N, DIM, N_COUNTS = 400, 4, 5
TRAIN, CALIBRATION, TEST = np.split(np.arange(N), [200, 300])


@pytest.fixture(scope="module")
def rows() -> LabelledInputs:
    """Each of the four kinds of inputs says something of the label that the others do not."""
    rng = np.random.default_rng(0)
    inputs = HeadInputs(*(rng.normal(size=(N, width)).astype(np.float32) for width in (DIM, DIM, len(NAMES), N_COUNTS)))
    told = inputs.user_embedding[:, 0] + inputs.event_state[:, 1] + inputs.features.sum(axis=1) + inputs.counts[:, 2]
    labels = (told + rng.normal(size=N) > 0.8).astype(np.int8)
    return LabelledInputs(inputs, NAMES, labels, np.array([f"u{i // 3}" for i in range(N)], np.object_))


def columns_read(head: Head, rows: LabelledInputs) -> set[str]:
    """What of the inputs moves a score."""
    found, before = set(), score(head, rows)
    arrays = {"user_embedding": None, "event_state": None, "counts": None, "features": rows.feature_names}
    for name, columns in arrays.items():
        for i, column in enumerate(columns or [name]):
            changed = getattr(rows.inputs, name).copy()
            changed[:, i if columns else slice(None)] -= 1.5
            after = score(head, replace(rows, inputs=replace(rows.inputs, **{name: changed})))
            if not np.array_equal(before, after):
                found.add(column)
    return found


@pytest.mark.parametrize(
    ("method", "kind", "expected"),
    [
        ("probe", "user", {"user_embedding", "recency"}),
        ("probe", "event", {"user_embedding", "event_state"}),
        ("hybrid", "user", {"user_embedding", *NAMES}),
        ("hybrid", "event", {"user_embedding", "event_state", *NAMES}),
    ],
)
def test_what_a_method_reads(rows: LabelledInputs, method: str, kind: Kind, expected: set[str]) -> None:
    head = fit_head("churn", method, kind, "logistic", rows.rows(TRAIN), 0)
    assert (head.task, head.method, head.kind) == ("churn", method, kind)
    assert columns_read(head, rows) == expected


@pytest.mark.parametrize(("kind", "expected"), [("user", {"user_embedding", "recency"}),
                                                ("event", {"user_embedding", "event_state"})])  # fmt: skip
def test_the_head_of_adapters_reads_what_it_was_fitted_with(
    rows: LabelledInputs, kind: Kind, expected: set[str]
) -> None:
    width = DIM + 1 if kind == "user" else 2 * DIM
    ones = np.ones(width, np.float32)
    head = linear_head("churn", kind, Linear(0 * ones, ones, ones, 0.5))
    assert columns_read(head, rows) == expected
    inputs = rows.inputs
    read = [inputs.user_embedding, inputs.features[:, [1]] if kind == "user" else inputs.event_state]
    logits = np.hstack(read).sum(axis=1) + 0.5
    np.testing.assert_allclose(score(head, rows, calibrate=False), logits, atol=1e-5)


@pytest.mark.parametrize(("name", "expected"), [("counts", {f"count_{i}" for i in range(N_COUNTS)}),
                                                ("features", set(NAMES))])  # fmt: skip
def test_what_a_baseline_reads(rows: LabelledInputs, name: str, expected: set[str]) -> None:
    read = baseline_inputs(name, rows)
    head = fit_baseline(name, "user", read.rows(TRAIN), 0)
    assert columns_read(head, read) == expected
    assert set(head.feature_names) == expected
    np.testing.assert_array_equal(read.labels, rows.labels)


def test_a_hybrid_knows_what_the_features_know_and_what_the_network_knows(rows: LabelledInputs) -> None:
    test = rows.rows(TEST)
    heads = {method: fit_head("t", method, "event", "auto", rows.rows(TRAIN), 0) for method in ("probe", "hybrid")}
    auc = {name: roc_auc_score(test.labels, score(head, test)) for name, head in heads.items()}
    for name in BASELINES:
        read = baseline_inputs(name, rows)
        auc[name] = roc_auc_score(test.labels, score(fit_baseline(name, "event", read.rows(TRAIN), 0), read.rows(TEST)))
    assert min(auc.values()) > 0.55
    assert auc["hybrid"] > max(auc["probe"], auc["counts"], auc["features"]) + 0.02


@pytest.mark.parametrize(("setting", "kind"), [("logistic", Linear), ("boosting", Trees)])
def test_a_probes_classifier_can_be_chosen(rows: LabelledInputs, setting: str, kind: type) -> None:
    head = fit_head("t", "probe", "user", setting, rows.rows(TRAIN), 0)
    assert isinstance(head.classifier, kind)
    assert head.info["classifier"] == setting


def test_auto_takes_the_classifier_that_fits(rows: LabelledInputs) -> None:
    x = rows.inputs.user_embedding
    curved = replace(rows, labels=(np.abs(x[:, 0]) > 0.7).astype(np.int8))
    assert fit_head("t", "probe", "user", "auto", rows, 0).info["classifier"] == "logistic"
    assert fit_head("t", "probe", "user", "auto", curved, 0).info["classifier"] == "boosting"
    assert isinstance(fit_head("t", "hybrid", "user", "boosting", rows, 0).classifier, Stacked)


def test_calibration_follows_the_rows_given_and_leaves_the_classifier(rows: LabelledInputs) -> None:
    head = fit_head("t", "probe", "user", "logistic", rows.rows(TRAIN), 0)
    rare = rows.rows(CALIBRATION)
    kept = np.flatnonzero((rare.labels == 0) | (np.arange(len(rare.labels)) % 3 == 0))
    means = {}
    for name, part in (("as it is", rare), ("rare", rare.rows(kept))):
        fitted = calibrated(head, part, 0)
        assert fitted.classifier is head.classifier
        assert fitted.info == {"classifier": "logistic", "calibrator": "platt"}
        means[name] = float(score(fitted, part).mean())
        assert means[name] == pytest.approx(part.labels.mean(), abs=0.02)
        np.testing.assert_array_equal(score(fitted, part, calibrate=False), score(head, part, calibrate=False))
    assert means["rare"] < means["as it is"] - 0.1
    assert "calibrator" not in head.info


def test_scores_are_probabilities_of_the_logits(rows: LabelledInputs) -> None:
    head = calibrated(fit_head("t", "hybrid", "event", "auto", rows.rows(TRAIN), 0), rows.rows(CALIBRATION), 0)
    logits, probabilities = score(head, rows, calibrate=False), score(head, rows)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (N,)
    assert np.all((probabilities > 0) & (probabilities < 1))
    expected = 1 / (1 + np.exp(-(head.calibrator.slope * logits.astype(np.float64) + head.calibrator.intercept)))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert len(score(head, rows.rows(np.zeros(0, np.int64)))) == 0


def test_rows_of_one_class_are_refused(rows: LabelledInputs) -> None:
    alike = rows.rows(np.flatnonzero(rows.labels == 1))
    with pytest.raises(DataError, match="expected both 0 and 1"):
        fit_head("t", "probe", "user", "auto", alike, 0)
    with pytest.raises(DataError, match="expected both 0 and 1"):
        calibrated(fit_head("t", "probe", "user", "logistic", rows, 0), alike, 0)
