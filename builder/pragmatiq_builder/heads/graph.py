"""All heads of a model as one ONNX graph, so that what was calibrated and evaluated is what is served."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from pragmatiq_builder.heads.head import HIGHEST_PROBABILITY, INPUTS, LOWEST_PROBABILITY, Head
from pragmatiq_builder.heads.parts import Isotonic, Linear, Platt, Stacked, Trees
from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.scorer.heads import TASKS_PROPERTY

# The newest operator here is ReduceSum of opset 13; TreeEnsembleRegressor is deprecated from ai.onnx.ml 5 on.
OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
ML_DOMAIN = "ai.onnx.ml"

Constant = npt.NDArray[Any] | np.generic


def heads_graph(
    heads: Sequence[Head], dims: Mapping[str, int], feature_names: Sequence[str], *, calibrated: bool = True
) -> onnx.ModelProto:
    """The graph of ``heads``, for any number of rows n, none included.

    Inputs, float32: those of :data:`INPUTS` that a head reads, each [n, dims[name]], and ``features``
    [n, len(feature_names)] with the columns ``feature_names``; they are finite or NaN (unknown). Output: ``scores``
    float32 [n, n_heads], in the order of ``heads``: probabilities, never falling as the logit rises, or, if not
    ``calibrated``, logits. The graph names the tasks of its columns. The same heads give the same bytes.

    Raises :class:`ConfigError` for no head or two of one task, :class:`ArtifactError` where a head needs an input, a
    feature or a width that is not there.
    """
    tasks = [head.task for head in heads]
    if not tasks or len(set(tasks)) < len(tasks):
        raise ConfigError(f"heads of tasks {tasks}: expected one or more, each of another task")
    widths = {**dims, "features": len(feature_names)}
    parts, columns = [], []
    for head in heads:
        _check(head, widths, feature_names)
        part = _Part(head.task)
        logit = _logit(part, head, feature_names)
        columns.append(_probability(part, head, logit) if calibrated else logit)
        parts.append(part)
    read = [name for name in INPUTS if any(name in head.inputs for head in heads)]
    graph = helper.make_graph(
        [node for part in parts for node in part.nodes] + [helper.make_node("Concat", columns, ["scores"], axis=1)],
        "heads",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", widths[name]]) for name in read],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", len(heads)])],
        [tensor for part in parts for tensor in part.initializers],
    )
    model = helper.make_model(
        graph,
        producer_name="pragmatiq-triton",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)],
    )
    helper.set_model_props(model, {TASKS_PROPERTY: json.dumps(tasks)})
    return model


class _Part:
    """One head's share of the graph."""

    def __init__(self, task: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._task = task

    def add(self, operator: str, *inputs: str | Constant, domain: str = "", **attributes: Any) -> str:
        """Append a node of one output, whose name is returned; an array among ``inputs`` becomes a constant."""
        name = f"{self._task}/{operator}_{len(self.nodes)}"
        names = [self._constant(each, f"{name}/{i}") for i, each in enumerate(inputs)]
        self.nodes.append(helper.make_node(operator, names, [name], name, domain=domain, **attributes))
        return name

    def _constant(self, value: str | Constant, name: str) -> str:
        if isinstance(value, str):
            return value
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _check(head: Head, widths: Mapping[str, int], feature_names: Sequence[str]) -> None:
    if missing := [name for name in head.inputs if name not in widths]:
        raise ArtifactError(
            f"head {head.task}: needs the inputs {missing}, the network gives {sorted(widths)}; "
            "fit the head on this network"
        )
    if unknown := [name for name in head.feature_names if name not in feature_names]:
        raise ArtifactError(
            f"head {head.task}: needs the features {unknown}, there are {len(feature_names)} others; "
            "fit the head anew with the features of today"
        )
    width = len(head.feature_names) + sum(widths[name] for name in head.inputs if name != "features")
    if isinstance(head.classifier, Stacked) and head.classifier.trees.n_inputs != len(head.feature_names):
        raise ArtifactError(
            f"head {head.task}: its trees read {head.classifier.trees.n_inputs} features, it names "
            f"{len(head.feature_names)}; fit the head anew"
        )
    if head.classifier.n_inputs != width:
        raise ArtifactError(
            f"head {head.task}: its classifier reads {head.classifier.n_inputs} numbers, its inputs "
            f"{', '.join(head.inputs)} have {width}; fit the head on this network"
        )


def _logit(part: _Part, head: Head, feature_names: Sequence[str]) -> str:
    """Float32 [n, 1]."""
    vectors = [name for name in head.inputs if name != "features"]
    features = []
    if head.feature_names:
        columns = np.array([feature_names.index(name) for name in head.feature_names], np.int64)
        features.append(part.add("Gather", "features", columns, axis=1))
    match head.classifier:
        case Linear() as linear:
            return _linear(part, linear, part.add("Concat", *vectors, *features, axis=1))
        case Trees() as trees:
            return _trees(part, trees, part.add("Concat", *vectors, *features, axis=1))
        case Stacked() as stacked:
            logit = _trees(part, stacked.trees, features[0])
            return _linear(part, stacked.linear, part.add("Concat", *vectors, logit, axis=1))


def _linear(part: _Part, linear: Linear, x: str) -> str:
    x = part.add("Where", part.add("IsNaN", x), linear.mean, x)
    x = part.add("Div", part.add("Sub", x, linear.mean), linear.scale)
    x = part.add("MatMul", x, linear.weights[:, np.newaxis])
    return part.add("Add", x, np.array([linear.bias], np.float32))


def _trees(part: _Part, trees: Trees, x: str) -> str:
    leaves = np.flatnonzero(trees.is_leaf)
    return part.add(
        "TreeEnsembleRegressor",
        x,
        domain=ML_DOMAIN,
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=[trees.base],
        nodes_treeids=trees.tree.tolist(),
        nodes_nodeids=list(range(len(trees.tree))),
        nodes_modes=["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in trees.is_leaf],
        nodes_featureids=trees.feature.tolist(),
        nodes_values=trees.threshold.tolist(),
        nodes_truenodeids=np.maximum(trees.true_child, 0).tolist(),
        nodes_falsenodeids=np.maximum(trees.false_child, 0).tolist(),
        nodes_missing_value_tracks_true=trees.missing_to_true.astype(int).tolist(),
        target_treeids=trees.tree[leaves].tolist(),
        target_nodeids=leaves.tolist(),
        target_ids=[0] * len(leaves),
        target_weights=trees.value[leaves].tolist(),
    )


def _probability(part: _Part, head: Head, logit: str) -> str:
    """Float32 [n, 1]."""
    match head.calibrator:
        case Platt() as platt:
            probability = _platt(part, platt, logit)
        case Isotonic() as isotonic:
            probability = _isotonic(part, isotonic, logit)
    return part.add("Clip", probability, np.float32(LOWEST_PROBABILITY), np.float32(HIGHEST_PROBABILITY))


def _platt(part: _Part, platt: Platt, logit: str) -> str:
    negated = part.add("Mul", logit, np.float32(-platt.slope))
    negated = part.add("Sub", negated, np.float32(platt.intercept))
    # ONNX Runtime's Sigmoid is exact to 6e-8 only: it ties, and even swaps, the probabilities of rare classes.
    return part.add("Reciprocal", part.add("Add", part.add("Exp", negated), np.float32(1)))


def _isotonic(part: _Part, isotonic: Isotonic, logit: str) -> str:
    logits, probabilities = isotonic.logits, isotonic.probabilities
    logit = part.add("Clip", logit, logits[0], logits[-1])
    # The knots at or below the logit, but for the last, are counted: 1 or more, and the next knot's number.
    reached = part.add("Cast", part.add("GreaterOrEqual", logit, logits[:-1]), to=onnx.TensorProto.INT32)
    upper = part.add("ReduceSum", reached, np.array([1]), keepdims=1)
    lower = part.add("Sub", upper, np.int32(1))
    left, right = (part.add("Gather", logits, knot) for knot in (lower, upper))
    low, high = (part.add("Gather", probabilities, knot) for knot in (lower, upper))
    share = part.add("Div", part.add("Sub", logit, left), part.add("Sub", right, left))
    between = part.add("Add", low, part.add("Mul", share, part.add("Sub", high, low)))
    # Rounding could pass the upper knot, and fall again behind it.
    return part.add("Min", between, high)
