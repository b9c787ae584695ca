"""The parts of a head: what makes a logit of its inputs, and what makes a probability of the logit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Float32, Int32


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """logit = ((x - mean) / scale) . weights + bias, where a NaN in ``x`` counts as its mean.

    ``mean``, ``scale`` (> 0) and ``weights`` are float32 [n_inputs].
    """

    mean: Float32
    scale: Float32
    weights: Float32
    bias: float

    def __post_init__(self) -> None:
        _require_vectors(np.float32, mean=self.mean, scale=self.scale, weights=self.weights)
        _require(bool(np.all(np.isfinite([self.mean, self.scale, self.weights]))), "expected finite numbers")
        _require(bool(np.isfinite(self.bias)), f"bias must be finite, got {self.bias}")
        _require(bool(np.all(self.scale > 0)), "scale must be positive")

    @property
    def n_inputs(self) -> int:
        return len(self.weights)


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """logit = base + the sum over trees of the leaf that ``x`` [n_inputs] falls into.

    Nodes of all trees end to end, each tree's root first: ``tree`` int32 [n_nodes], ascending; at a split,
    ``feature`` int32 and ``threshold`` float32: ``x[feature] <= threshold`` leads to the node numbered ``true_child``,
    anything else to ``false_child`` (int32, behind their parent; -1: a leaf); NaN to the former where
    ``missing_to_true`` (bool). ``value`` float32 counts at leaves.
    """

    n_inputs: int
    tree: Int32
    feature: Int32
    threshold: Float32
    true_child: Int32
    false_child: Int32
    missing_to_true: npt.NDArray[np.bool_]
    value: Float32
    base: float

    def __post_init__(self) -> None:
        _require(bool(np.isfinite(self.base)), f"base must be finite, got {self.base}")
        _require(not np.isinf(self.value).any(), "value must be finite")
        children = {"true_child": self.true_child, "false_child": self.false_child}
        _require_vectors(np.int32, tree=self.tree, feature=self.feature, **children)
        _require_vectors(np.float32, threshold=self.threshold, value=self.value)
        _require_vectors(np.bool_, missing_to_true=self.missing_to_true)
        _require(len({len(each) for each in (self.tree, self.threshold, self.missing_to_true)}) == 1, "lengths differ")
        node, split = np.arange(len(self.tree)), ~self.is_leaf
        _require(bool(np.all((self.feature >= 0) & (self.feature < self.n_inputs))), "feature out of range")
        for name, child in children.items():
            _require(bool(np.all((child < len(node)) & ((child >= 0) == split))), f"{name} out of range")
            inside = (child > node) & (self.tree[child] == self.tree)
            _require(bool(np.all(inside | ~split)), f"{name} is not behind its parent in the same tree")

    @property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        """Bool [n_nodes]."""
        return np.asarray(self.true_child < 0)


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """logit = ``linear`` of [the other inputs, the logit of ``trees`` on the last ``trees.n_inputs`` inputs].

    Trees jump where an input passes a threshold. Here they read the features alone, which are the same wherever a
    history is scored; the network's vectors, which rounding moves, are read smoothly.
    """

    trees: Trees
    linear: Linear

    @property
    def n_inputs(self) -> int:
        return self.linear.n_inputs - 1 + self.trees.n_inputs


@dataclass(frozen=True, slots=True)
class Platt:
    """probability = sigmoid(slope * logit + intercept), ``slope`` > 0 (Platt 1999)."""

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        slope, intercept = np.float32(self.slope), np.float32(self.intercept)
        _require(bool(0 < slope < np.inf), f"slope must be positive and finite, got {self.slope}")
        _require(bool(np.isfinite(intercept)), f"intercept must be finite, got {self.intercept}")


@dataclass(frozen=True, slots=True, eq=False)
class Isotonic:
    """Linear between the knots (``logits``, ``probabilities``), the end ones' probability outside.

    Both float32 [n_knots], two or more; ``logits`` strictly ascending, ``probabilities`` ascending.
    """

    logits: Float32
    probabilities: Float32

    def __post_init__(self) -> None:
        _require_vectors(np.float32, logits=self.logits, probabilities=self.probabilities)
        _require(len(self.logits) >= 2, "expected two knots or more")
        gaps = np.diff(self.logits)
        _require(bool(np.all((gaps > 0) & (gaps < np.inf))), "logits must be finite and strictly ascending")
        inside = (self.probabilities >= 0) & (self.probabilities <= 1)
        _require(bool(np.all(inside) and np.all(np.diff(self.probabilities) >= 0)), "probabilities must ascend in 0..1")


Classifier = Linear | Trees | Stacked
Calibrator = Platt | Isotonic


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _require_vectors(dtype: type[np.generic], **vectors: npt.NDArray[Any]) -> None:
    """Of one length, of ``dtype``, without NaN."""
    for name, vector in vectors.items():
        _require(vector.dtype == dtype and vector.ndim == 1, f"{name}: expected {dtype.__name__} [n]")
        _require(not np.isnan(vector).any(), f"{name} has NaN")
    lengths = {name: len(vector) for name, vector in vectors.items()}
    _require(len(set(lengths.values())) == 1, f"expected equal lengths, got {lengths}")
