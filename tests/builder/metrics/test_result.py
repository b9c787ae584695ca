import msgspec
import numpy as np
import pytest

from pragmatiq_builder.metrics import METRICS, Evaluation, Split, evaluate_scores
from pragmatiq_builder.metrics.metrics import measure
from pragmatiq_triton.errors import DataError
from tests.builder.metrics.conftest import knowing, simulated

METADATA = {"task": "t", "kind": "user", "method": "probe", "run": "r", "protocol": "p", "train": Split(1, 1, 1)}


def test_holds_every_model_and_goes_to_json_and_back(evaluation: Evaluation) -> None:
    assert set(evaluation.metrics) == set(evaluation.curves) == {"hybrid", "echo", "counts"}
    assert set(evaluation.differences) == {"echo", "counts"}
    assert all(set(found) == set(METRICS) for found in evaluation.metrics.values())
    assert msgspec.json.decode(msgspec.json.encode(evaluation), type=Evaluation) == evaluation


def test_counts_the_test_rows(evaluation: Evaluation) -> None:
    labels, users, _ = simulated()
    assert evaluation.splits["test"] == Split(len(labels), int(labels.sum()), len(set(users)))
    assert list(evaluation.splits) == ["train", "calibration", "test"]


def test_calibration_compares_the_candidate_before_and_after(evaluation: Evaluation) -> None:
    labels, _, noise = simulated()
    before = measure(labels, knowing(labels, noise, 2.0) ** 2)
    found = evaluation.calibration
    assert found is not None
    assert found.before == {name: pytest.approx(before[name]) for name in ("brier", "log_loss", *list(METRICS)[-1:])}
    assert found.after["brier"] == evaluation.metrics["hybrid"]["brier"].value


def test_cautions_say_what_weakens_the_intervals(evaluation: Evaluation) -> None:
    assert evaluation.cautions == []
    labels = np.zeros(100, dtype=int)
    labels[:2] = 1
    found = evaluate_scores(labels, np.arange(100), {"m": labels * 0.5}, "m", **METADATA, replicates=200)
    assert found.cautions[0].startswith("Users with a positive row: 2.")
    assert found.cautions[1].startswith(f"{found.left_out} of 200 draws")


def test_takes_lists_and_float32() -> None:
    labels, users, noise = simulated(users=30)
    scores = knowing(labels, noise, 1.0).astype(np.float32)
    names = [f"user-{user}" for user in users]
    from_lists = evaluate_scores(labels.tolist(), names, {"m": scores.tolist()}, "m", **METADATA, replicates=40)
    from_arrays = evaluate_scores(labels == 1, np.array(names, object), {"m": scores}, "m", **METADATA, replicates=40)
    assert from_lists.metrics["m"]["roc_auc"] == from_arrays.metrics["m"]["roc_auc"]


def test_labels_of_one_class_are_an_error() -> None:
    with pytest.raises(DataError, match=r"the 3 rows .* no negative label"):
        evaluate_scores([1, 1, 1], ["a", "b", "c"], {"m": [0.1, 0.2, 0.3]}, "m", **METADATA)
