"""An event encoder in int8 must stay close to the one in float32, and an event's vector must be its own."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from pragmatiq_builder.network import NetworkConfig, PragmaNetwork
from pragmatiq_builder.onnx.graphs import export_graphs
from pragmatiq_builder.onnx.quantize import ACTIVATION_LEVELS, WEIGHT_LEVELS, quantize_event_encoder, quantized_weights
from pragmatiq_builder.runs import Run
from pragmatiq_triton.batch import Batch
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.scorer.sessions import Graph
from tests.builder.upstream_case import N_RECORDS, UPSTREAM, UpstreamCase

CALIBRATING, OTHERS = range(0, N_RECORDS, 2), range(1, N_RECORDS, 2)
ENCODER = "event_encoder.onnx"


@dataclass(frozen=True)
class Exports:
    """A run exported in both precisions, and records as batches."""

    fp32: Path
    int8: Path
    case: UpstreamCase

    def calibrating(self) -> list[Batch]:
        return [self.case.batch([record]) for record in CALIBRATING]


@pytest.fixture(scope="module")
def exports(run: Run, variant: str, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    folder = tmp_path_factory.mktemp(variant)
    made = Exports(folder / "fp32", folder / "int8", UpstreamCase(UPSTREAM / variant))
    export_graphs(run.network, made.fp32)
    shutil.copytree(made.fp32, made.int8)
    quantize_event_encoder(made.int8, made.calibrating())
    return made


def encoder(folder: Path) -> onnx.ModelProto:
    return onnx.load(folder / ENCODER, load_external_data=False)


def test_records_that_did_not_calibrate_are_close_to_float32(exports: Exports) -> None:
    batch = exports.case.batch(list(OTHERS))
    fp32, int8 = (Scorer(folder).event_vectors(batch) for folder in (exports.fp32, exports.int8))
    cosines = (fp32 * int8).sum(1) / np.linalg.norm(fp32, axis=1) / np.linalg.norm(int8, axis=1)
    assert cosines.min() > 0.999
    assert np.abs(fp32 - int8).max() > 1e-4


def test_an_event_s_vector_does_not_depend_on_its_chunk(exports: Exports) -> None:
    batch, scorer = exports.case.batch(list(OTHERS)), Scorer(exports.int8)
    together = scorer.event_vectors(batch)
    alone = [scorer.event_vectors(exports.case.batch([record])) for record in OTHERS]
    np.testing.assert_allclose(np.concatenate(alone), together, rtol=0, atol=1e-6)
    # A record's newest event by itself, as a cache asks for it.
    graph = Graph(exports.int8 / ENCODER)
    inputs: dict[str, np.ndarray] = {}
    if "projected_texts" in graph.input_shapes:
        inputs["projected_texts"] = Graph(exports.int8 / "text_projection.onnx")(text_vectors=batch.text_vectors)
    tokens = batch.tokens if inputs else batch.tokens[:, :3]
    ends = np.cumsum(batch.token_counts)
    for event in range(0, len(ends), 50):
        one = tokens[ends[event] - batch.token_counts[event] : ends[event]]
        np.testing.assert_allclose(graph(tokens=one[None], **inputs)[0], together[event], rtol=0, atol=1e-6)


def test_only_products_with_weights_are_in_int8(exports: Exports) -> None:
    before, after = encoder(exports.fp32).graph, encoder(exports.int8).graph
    kinds = [node.op_type for node in after.node]
    weighted = [node for node in before.node if node.op_type in ("MatMul", "Gemm")]
    assert kinds.count("MatMulIntegerToFloat") == len(weighted)
    assert not {"MatMul", "Gemm"} & set(kinds)
    kept = ("Attention", "LayerNormalization", "Gelu", "Gather")
    assert [kind for kind in kinds if kind in kept] == [n.op_type for n in before.node if n.op_type in kept]
    levels = {tensor.name: tensor for tensor in after.initializer if tensor.data_type == onnx.TensorProto.INT8}
    assert {name.removesuffix("_levels") for name in levels} == {node.input[1] for node in weighted}
    assert not {node.input[1] for node in weighted} & {tensor.name for tensor in after.initializer}


def test_weights_are_on_the_grid_of_their_channel(exports: Exports) -> None:
    weights = {each.name: numpy_helper.to_array(each) for each in onnx.load(exports.fp32 / ENCODER).graph.initializer}
    stored = {each.name: numpy_helper.to_array(each) for each in onnx.load(exports.int8 / ENCODER).graph.initializer}
    for name in [name for name in stored if name.endswith("_levels")]:
        levels, scales = stored[name], stored[name.removesuffix("levels") + "scales"]
        assert np.abs(levels.astype(int)).max(axis=0).tolist() == [WEIGHT_LEVELS] * len(scales)
        error = np.abs(levels * scales - weights[name.removesuffix("_levels")])
        assert (error <= scales * (0.5 + 1e-5)).all()


def test_a_channel_without_weights_stays_zero() -> None:
    levels, scales = quantized_weights(np.array([[0.0, 2.0], [0.0, -1.0]], np.float32))
    assert levels.tolist() == [[0, WEIGHT_LEVELS], [0, -WEIGHT_LEVELS // 2]]
    assert np.isfinite(scales).all()


def test_two_products_of_weights_and_activations_fit_into_16_bits() -> None:
    assert np.iinfo(np.int16).max >= 2 * ACTIVATION_LEVELS * WEIGHT_LEVELS


def test_onnx_runtime_keeps_the_fast_kernels(exports: Exports, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(exports.int8 / ENCODER, options, providers=["CPUExecutionProvider"])
    optimized = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph.node]
    stored = [node.op_type for node in encoder(exports.int8).graph.node]
    assert optimized.count("MatMulIntegerToFloat") == stored.count("MatMulIntegerToFloat")
    assert not set(optimized) & {"DequantizeLinear", "SkipLayerNormalization", "BiasGelu", "FastGelu"}


def test_the_graph_is_valid_without_a_trace_of_its_making(exports: Exports) -> None:
    onnx.checker.check_model(exports.int8 / ENCODER, full_check=True)
    model = encoder(exports.int8)
    assert {each.domain: each.version for each in model.opset_import} == {"": 23, "com.microsoft": 1}
    parts = [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer]
    assert not any(part.doc_string or part.metadata_props for part in parts)
    assert [put.name for put in model.graph.output] == ["event_vectors"]


def test_the_token_table_stays_where_it_is_and_nothing_else_changes(exports: Exports) -> None:
    model = encoder(exports.int8)
    locations = {t.name: e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}
    assert [name for name, place in locations.items() if place == "token_embedding.npy"] == ["tokens.token_embedding"]
    assert set(locations.values()) == {"token_embedding.npy", f"{ENCODER}.data"}
    one, other = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (exports.fp32, exports.int8))
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} == {ENCODER, f"{ENCODER}.data"}
    assert len(other[f"{ENCODER}.data"]) < len(one[f"{ENCODER}.data"]) / 2


def test_the_same_records_give_the_same_bytes_however_they_come(exports: Exports, tmp_path: Path) -> None:
    again = shutil.copytree(exports.fp32, tmp_path / "again")
    quantize_event_encoder(again, [exports.case.batch(list(CALIBRATING)[::-1])], threads=2)
    for name in (ENCODER, f"{ENCODER}.data"):
        assert (again / name).read_bytes() == (exports.int8 / name).read_bytes()


def test_a_scorer_that_is_open_goes_on_in_float32(exports: Exports, tmp_path: Path) -> None:
    folder, batch = shutil.copytree(exports.fp32, tmp_path / "open"), exports.case.batch([1])
    scorer = Scorer(folder)
    before = scorer.event_vectors(batch)
    quantize_event_encoder(folder, exports.calibrating()[:1])
    np.testing.assert_array_equal(scorer.event_vectors(batch), before)
    assert np.abs(Scorer(folder).event_vectors(batch) - before).max() > 0


def small_network() -> PragmaNetwork:
    torch.manual_seed(0)
    return PragmaNetwork(NetworkConfig(4000, 16, 2, 1, 1, 1))


def test_without_events_there_is_no_calibration(tmp_path: Path) -> None:
    export_graphs(small_network(), tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (user,) = (UpstreamCase(UPSTREAM / "bpe").batch([1]),)
    empty = replace(user, tokens=user.tokens[:0], events=user.events[:0], event_cu_seqlens=np.zeros(2, np.int64))
    for batches in ([], [empty]):
        with pytest.raises(ArtifactError, match="no events to calibrate the event encoder with"):
            quantize_event_encoder(tmp_path, batches)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_network_of_numbers_that_are_none_is_refused(tmp_path: Path) -> None:
    network = small_network()
    with torch.no_grad():
        network.event_encoder.blocks[0].norm1.weight.fill_(torch.nan)
    export_graphs(network, tmp_path)
    with pytest.raises(ArtifactError, match="numbers are not finite"):
        quantize_event_encoder(tmp_path, [UpstreamCase(UPSTREAM / "bpe").batch([1])])


def test_activations_that_are_always_zero_do_no_harm(tmp_path: Path) -> None:
    network = small_network()
    with torch.no_grad():
        network.event_encoder.blocks[0].norm1.weight.zero_()
    export_graphs(network, tmp_path)
    batch = UpstreamCase(UPSTREAM / "bpe").batch([1])
    fp32 = Scorer(tmp_path).event_vectors(batch)
    quantize_event_encoder(tmp_path, [batch])
    np.testing.assert_allclose(Scorer(tmp_path).event_vectors(batch), fp32, rtol=0, atol=0.1)
