"""The event encoder in int8: its products with weights, nine tenths of its work; all else stays in float32.

Activations are unsigned, one range per tensor, fixed at calibration, so an event's vector does not depend on which
others share its call (dynamic ranges would move it by up to 0.1). Weights are signed, one scale per output channel.
``com.microsoft.MatMulIntegerToFloat`` multiplies the two without a detour: ONNX Runtime's own quantizer also rounds
the products, which is slower and less exact.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from pragmatiq_builder.onnx.graphs import save_graph
from pragmatiq_triton.batch import Batch, Float32, Token, cu_seqlens
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.scorer.groups import exact_length_chunks, gather_rows
from pragmatiq_triton.scorer.scorer import CHUNK_TOKENS
from pragmatiq_triton.scorer.sessions import EVENT_ENCODER, TEXT_PROJECTION, Graph

# x86 without VNNI adds two products in 16 bits: 2 * 255 * 64 fits, 2 * 255 * 127 would be cut off there, unmeasured.
WEIGHT_LEVELS = 64
ACTIVATION_LEVELS = 255
CONTRIB = "com.microsoft"


def quantize_event_encoder(folder: Path, batches: Iterable[Batch], *, threads: int = 1) -> None:
    """Replace the event encoder in ``folder``, made by :func:`~pragmatiq_builder.onnx.graphs.export_graphs`, by int8.

    Its activations' ranges are the smallest and largest values that ``batches``, users as a scorer gets them, bring
    about. The same batches give the same bytes. Raises :class:`ArtifactError` where they have no events or the
    network's numbers are not finite.
    """
    model = ir.external_data.load_to_model(ir.load(folder / EVENT_ENCODER))
    products = [node for node in model.graph if node.op_type in ("MatMul", "Gemm")]
    activations = list(dict.fromkeys(node.inputs[0].name for node in products))
    ranges = dict(zip(activations, _ranges(folder, activations, batches, threads), strict=True))
    rewrite = _Rewrite(model.graph)
    for node in products:
        rewrite.product(node, *ranges[node.inputs[0].name])
    model.graph.opset_imports[CONTRIB] = 1
    save_graph(model, folder / EVENT_ENCODER)


class _Rewrite:
    """Nodes of a graph in float32, replaced one by one."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._quantized: dict[str, list[ir.Value]] = {}

    def product(self, node: ir.Node, low: float, high: float) -> None:
        """Replace ``node``, activations (in ``low``..``high``) by weights and, of a ``Gemm``, plus its third input."""
        activations, weights, *addends = node.inputs
        if activations.name not in self._quantized:
            self._quantized[activations.name] = self._activations(activations, node, low, high)
        values, scale, zero_point = self._quantized[activations.name]
        levels, scales = quantized_weights(weights.const_value.numpy())
        inputs = [
            values,
            self._constant(f"{weights.name}_levels", levels),
            scale,
            self._constant(f"{weights.name}_scales", scales),
            zero_point,
            None,
        ]
        biases = [value for value in addends if value.is_initializer()]
        tape = ir.tape.Tape()
        result = tape.op("MatMulIntegerToFloat", inputs + biases, domain=CONTRIB)
        for residual in (value for value in addends if not value.is_initializer()):
            result = tape.op("Add", [result, residual])
        (old,) = node.outputs
        ir.convenience.replace_nodes_and_values(self._graph, node, [node], tape.nodes, [old], [result])
        del self._graph.initializers[weights.name]

    def _activations(self, value: ir.Value, before: ir.Node, low: float, high: float) -> list[ir.Value]:
        """The value in 8 bits, its scale and its zero point; 0 is exact."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32((high - low) / ACTIVATION_LEVELS or 1.0)
        inputs = [
            value,
            self._constant(f"{value.name}_scale", scale),
            self._constant(f"{value.name}_zero_point", np.uint8(np.rint(-low / scale))),
        ]
        tape = ir.tape.Tape()
        quantized = tape.op("QuantizeLinear", inputs)
        self._graph.insert_before(before, tape.nodes)
        return [quantized, *inputs[1:]]

    def _constant(self, name: str, values: npt.NDArray[Any] | np.generic) -> ir.Value:
        tape = ir.tape.Tape(self._graph)
        return tape.initializer(ir.tensor(np.asarray(values), name=name))


def quantized_weights(weights: Float32) -> tuple[npt.NDArray[np.int8], Float32]:
    """Weights [d_in, d_out] as int8 of the same shape and a scale for each output channel [d_out]."""
    largest = np.abs(weights).max(axis=0)
    scales = np.where(largest > 0, largest, 1.0).astype(np.float32) / np.float32(WEIGHT_LEVELS)
    return np.rint(weights / scales).astype(np.int8), scales


def _ranges(folder: Path, names: Sequence[str], batches: Iterable[Batch], threads: int) -> list[tuple[float, float]]:
    """The smallest and the largest number of each of the event encoder's values ``names``."""
    observer = folder / "observer.onnx"
    try:
        _save_observer(folder / EVENT_ENCODER, names, observer)
        graph = Graph(observer)
        projection = Graph(folder / TEXT_PROJECTION) if "projected_texts" in graph.input_shapes else None

        def observe(inputs: dict[str, npt.NDArray[Any]]) -> list[Float32]:
            return graph.outputs(**inputs)[1:]

        with ThreadPoolExecutor(threads) as pool:
            chunks = [found for batch in batches for found in pool.map(observe, _inputs(batch, projection))]
    finally:
        observer.unlink(missing_ok=True)
    if not chunks:
        raise ArtifactError(f"{folder}: there are no events to calibrate the event encoder with; give more users")
    seen = np.array(chunks, np.float32).reshape(len(chunks), len(names), 2)
    if not np.isfinite(seen).all():
        raise ArtifactError(f"{folder}: the event encoder's numbers are not finite; train the run again")
    return list(zip(seen[..., 0].min(axis=0).tolist(), seen[..., 1].max(axis=0).tolist(), strict=True))


def _save_observer(encoder: Path, names: Sequence[str], path: Path) -> None:
    """Write ``encoder`` with further outputs: of each value in turn the smallest and the largest number."""
    model = ir.load(encoder)
    values = {value.name: value for node in model.graph for value in node.outputs}
    tape = ir.tape.Tape(model.graph)
    for name in names:
        for extreme in ("ReduceMin", "ReduceMax"):
            output = ir.val(f"{name}_{extreme}", ir.DataType.FLOAT, ())
            model.graph.outputs.append(tape.op(extreme, [values[name]], {"keepdims": 0}, output=output))
    ir.save(model, path)


def _inputs(batch: Batch, projection: Graph | None) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The event encoder's inputs for all events of ``batch``, as a scorer feeds them."""
    texts = {} if projection is None else {"projected_texts": projection(text_vectors=batch.text_vectors)}
    tokens = batch.tokens if texts else batch.tokens[:, : Token.TEXT]
    lengths = batch.token_counts
    starts = cu_seqlens(lengths)[:-1]
    for chunk in exact_length_chunks(lengths + 1, CHUNK_TOKENS):
        yield {"tokens": tokens[gather_rows(starts[chunk], int(lengths[chunk[0]]))], **texts}
