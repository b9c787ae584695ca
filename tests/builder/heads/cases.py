"""Random heads, and what they make of rows according to plain numpy."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.heads import INPUTS, Calibrator, Classifier, Head, Isotonic, Linear, Platt, Stacked, Trees

Array = npt.NDArray[Any]

DIMS = {"user_embedding": 3, "event_state": 2}
FEATURES = ["age", "balance", "n_events", "share_of_night"]


def random_head(
    rng: np.random.Generator, task: str = "churn", classifier: str = "linear", calibrator: str = "platt"
) -> Head:
    """A head of some of the inputs, and of some features in an order of its own."""
    chosen = {name for name in INPUTS if rng.random() < 0.6} | ({"features"} if classifier == "stacked" else set())
    inputs = tuple(name for name in INPUTS if name in chosen) or ("features",)
    features = rng.permutation(FEATURES)[: rng.integers(1, len(FEATURES) + 1)] if "features" in inputs else []
    width = len(features) + sum(DIMS[name] for name in inputs if name != "features")
    return Head(
        task=task,
        method="hybrid",
        kind="user",
        inputs=inputs,
        feature_names=tuple(str(name) for name in features),
        classifier=random_classifier(rng, classifier, width, len(features)),
        calibrator=Platt(rng.uniform(0.1, 3), rng.normal()) if calibrator == "platt" else random_isotonic(rng),
        info={"metrics": {"auc": 0.75}},
    )


def random_classifier(rng: np.random.Generator, kind: str, width: int, n_features: int) -> Classifier:
    if kind == "stacked":
        return Stacked(random_trees(rng, n_features), random_linear(rng, width - n_features + 1))
    return random_linear(rng, width) if kind == "linear" else random_trees(rng, width)


def random_linear(rng: np.random.Generator, width: int) -> Linear:
    mean, weights = (rng.normal(size=width).astype(np.float32) for _ in range(2))
    return Linear(mean, rng.uniform(0.5, 2, width).astype(np.float32), weights, rng.normal())


def random_trees(rng: np.random.Generator, width: int) -> Trees:
    rows: list[list[Any]] = []

    def grow(tree: int, depth: int) -> int:
        node = len(rows)
        rows.append([tree, 0, 0.0, -1, -1, False, rng.normal()])
        if depth and rng.random() < 0.8:
            children = [grow(tree, depth - 1), grow(tree, depth - 1)]
            rows[node] = [tree, rng.integers(width), rng.normal(), *children, rng.random() < 0.5, 0.0]
        return node

    for tree in range(int(rng.integers(1, 6))):
        grow(tree, 3)
    types = (np.int32, np.int32, np.float32, np.int32, np.int32, np.bool_, np.float32)
    columns = [np.array(column, dtype) for column, dtype in zip(zip(*rows, strict=True), types, strict=True)]
    return Trees(width, *columns, base=rng.normal())


def random_isotonic(rng: np.random.Generator, n_knots: int = 0) -> Isotonic:
    n_knots = n_knots or int(rng.integers(2, 12))
    logits = np.cumsum(rng.uniform(0.01, 1, n_knots)) - 2
    probabilities = np.sort(rng.choice(rng.random(n_knots), n_knots))
    return Isotonic(logits.astype(np.float32), probabilities.astype(np.float32))


def random_inputs(rng: np.random.Generator, n_rows: int, heads: list[Head]) -> dict[str, Array]:
    """Rows of which some numbers are unknown and some lie on, or next to, a threshold."""
    trees = [each.trees if isinstance(each, Stacked) else each for each in (head.classifier for head in heads)]
    thresholds = [each.threshold for each in trees if isinstance(each, Trees)]
    edges = np.concatenate([*thresholds, np.zeros(1, np.float32)])
    next_to = (np.nextafter(edges, np.float32(side)) for side in (-np.inf, np.inf))
    special = np.concatenate([edges, *next_to, np.full(1 + len(edges) // 2, np.nan, np.float32)])
    inputs = {}
    for name, width in {**DIMS, "features": len(FEATURES)}.items():
        usual = rng.normal(size=(n_rows, width)).astype(np.float32)
        inputs[name] = np.where(rng.random(usual.shape) < 0.3, rng.choice(special, usual.shape), usual)
    return inputs


def expected_logits(head: Head, inputs: dict[str, Array]) -> Array:
    """Float64 [n]."""
    columns = [FEATURES.index(name) for name in head.feature_names]
    pieces = [inputs[name] if name != "features" else inputs[name][:, columns] for name in head.inputs]
    return classifier_logits(head.classifier, np.concatenate(pieces, axis=1))


def classifier_logits(classifier: Classifier, x: Array) -> Array:
    if isinstance(classifier, Linear):
        known = np.where(np.isnan(x), classifier.mean, x).astype(np.float64)
        return (known - classifier.mean) / classifier.scale @ classifier.weights.astype(np.float64) + classifier.bias
    if isinstance(classifier, Stacked):
        vectors, features = np.split(x, [x.shape[1] - classifier.trees.n_inputs], axis=1)
        stacked = np.column_stack([vectors, classifier_logits(classifier.trees, features)])
        return classifier_logits(classifier.linear, stacked)
    return np.array([classifier.base + sum(classifier.value[leaf] for leaf in leaves(classifier, row)) for row in x])


def leaves(trees: Trees, row: Array) -> list[int]:
    """The leaf of every tree that ``row`` falls into."""
    found = []
    for root in np.flatnonzero(np.diff(trees.tree, prepend=-1)):
        node = root
        while trees.true_child[node] >= 0:
            value = row[trees.feature[node]]
            goes_true = trees.missing_to_true[node] if np.isnan(value) else value <= trees.threshold[node]
            node = (trees.true_child if goes_true else trees.false_child)[node]
        found.append(int(node))
    return found


def expected_probabilities(calibrator: Calibrator, logits: Array) -> Array:
    if isinstance(calibrator, Platt):
        probabilities = 1 / (1 + np.exp(-(calibrator.slope * logits + calibrator.intercept)))
    else:
        probabilities = np.interp(logits, calibrator.logits, calibrator.probabilities)
    return np.clip(probabilities, 1e-6, 1 - 1e-6)


def logit_head(calibrator: Calibrator) -> Head:
    """One whose logit is the only feature's value."""
    one = np.ones(1, np.float32)
    return Head("logit", "probe", "user", ("features",), ("logit",), Linear(0 * one, one, one, 0.0), calibrator, {})
