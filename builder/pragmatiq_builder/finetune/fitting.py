"""Fitting the heads of the methods, and of the baselines that they are held against, to rows of inputs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from pragmatiq_builder.finetune.calibration import fit_calibrator
from pragmatiq_builder.finetune.classifiers import ClassifierKind, choose_classifier, fit_classifier, useful_columns
from pragmatiq_builder.finetune.inputs import LabelledInputs
from pragmatiq_builder.finetune.labels import Kind
from pragmatiq_builder.finetune.stacking import fit_stacked, vectors_pay
from pragmatiq_builder.head_methods import METHODS, MethodName
from pragmatiq_builder.heads import INPUTS, Classifier, Head, HeadScorer, Linear, Platt, heads_graph
from pragmatiq_triton.batch import Float32
from pragmatiq_triton.tokenizer.features import RECENCY

BASELINES = ("counts", "features")
_UNCALIBRATED = Platt(1.0, 0.0)


def feature_names_of(method: MethodName, kind: Kind, names: Sequence[str]) -> tuple[str, ...]:
    """The features that a head of ``method`` reads, of all ``names``.

    A forecast needs to know how long ago the newest event was, which the network, measuring from that event, does not;
    a judgement of the newest event has nothing to learn from it.
    """
    if METHODS[method].reads_features:
        return tuple(names)
    return (RECENCY,) if kind == "user" else ()


def vectors_of(kind: Kind) -> tuple[str, ...]:
    """What of the network a head reads: the user embedding, and of an event its state."""
    return ("user_embedding",) if kind == "user" else ("user_embedding", "event_state")


def fit_head(
    task: str,
    method: MethodName,
    kind: Kind,
    classifier: Literal["auto", "logistic", "boosting"],
    rows: LabelledInputs,
    seed: int,
) -> Head:
    """Fit an uncalibrated head of a ``method`` that leaves the network as it is; ``classifier`` is a probe's.

    Raises :class:`~pragmatiq_triton.errors.DataError` if the labels of ``rows`` lack a class.
    """
    vectors = np.hstack([getattr(rows.inputs, name) for name in vectors_of(kind)])
    read = feature_names_of(method, kind, rows.feature_names)
    features = rows.inputs.features[:, [rows.feature_names.index(name) for name in read]]
    if METHODS[method].reads_features:
        useful = useful_columns(features)
        stacked = fit_stacked(vectors, features[:, useful], rows.labels, rows.users, seed)
        head = _uncalibrated(task, method, kind, stacked, "stacked", [read[column] for column in useful.tolist()])
        return replace(head, info={**head.info, "vectors_pay": vectors_pay(stacked)})
    chosen, fitted = _fit(classifier, np.hstack([vectors, features]), rows, seed)
    return _uncalibrated(task, method, kind, fitted, chosen, rows.feature_names)


def linear_head(task: str, kind: Kind, linear: Linear) -> Head:
    """The uncalibrated head that adapters were fitted with."""
    return _uncalibrated(task, "lora", kind, linear, "logistic", ())


def baseline_inputs(name: str, rows: LabelledInputs) -> LabelledInputs:
    """``rows`` with what the baseline ``name`` reads in the place of the features."""
    if name == "features":
        return rows
    counts = rows.inputs.counts
    names = [f"count_{i}" for i in range(counts.shape[1])]
    return replace(rows, inputs=replace(rows.inputs, features=counts), feature_names=names)


def fit_baseline(name: str, kind: Kind, rows: LabelledInputs, seed: int) -> Head:
    """The uncalibrated head of a baseline on ``baseline_inputs``, by the better of the two classifiers, as a probe."""
    useful = useful_columns(rows.inputs.features)
    chosen, fitted = _fit("auto", rows.inputs.features[:, useful], rows, seed)
    read = tuple(rows.feature_names[column] for column in useful.tolist())
    return Head(name, "probe", kind, ("features",), read, fitted, _UNCALIBRATED, {"classifier": chosen})


def calibrated(head: Head, rows: LabelledInputs, seed: int) -> Head:
    """The head with a calibrator fitted to ``rows``, which its classifier has not seen."""
    calibrator = fit_calibrator(score(head, rows, calibrate=False), rows.labels, rows.users, seed)
    return replace(head, calibrator=calibrator, info={**head.info, "calibrator": type(calibrator).__name__.lower()})


def score(head: Head, rows: LabelledInputs, *, calibrate: bool = True) -> Float32:
    """The head's probabilities [n], or its logits, by the graph that is served."""
    arrays = {name: getattr(rows.inputs, name) for name in INPUTS}
    dims = {name: array.shape[1] for name, array in arrays.items()}
    return HeadScorer(heads_graph([head], dims, rows.feature_names, calibrated=calibrate))(arrays)[:, 0]


def _fit(
    classifier: Literal["auto", "logistic", "boosting"], x: Float32, rows: LabelledInputs, seed: int
) -> tuple[ClassifierKind, Classifier]:
    chosen = choose_classifier(x, rows.labels, rows.users, seed) if classifier == "auto" else classifier
    return chosen, fit_classifier(chosen, x, rows.labels, rows.users, seed)


def _uncalibrated(
    task: str, method: MethodName, kind: Kind, classifier: Classifier, chosen: str, names: Sequence[str]
) -> Head:
    read = feature_names_of(method, kind, names)
    inputs = (*vectors_of(kind), *(["features"] if read else []))
    return Head(task, method, kind, inputs, read, classifier, _UNCALIBRATED, {"classifier": chosen})
