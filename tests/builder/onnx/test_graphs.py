import os
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

from pragmatiq_builder.network import NetworkConfig, PragmaNetwork
from pragmatiq_builder.onnx.graphs import export_graphs

DIM, TEXT_DIM = 32, 12
GRAPHS = {
    "bpe": ["event_encoder", "history_encoder", "profile_encoder"],
    "embed": ["event_encoder", "history_encoder", "profile_encoder", "text_projection"],
}
EXPORT = f"""
import sys
sys.modules.update(dict.fromkeys(sys.argv[2:]))
from pathlib import Path
import torch
from pragmatiq_builder.onnx.graphs import export_graphs
from pragmatiq_builder.network import NetworkConfig, PragmaNetwork
for name, text_dim in ("bpe", 0), ("embed", {TEXT_DIM}):
    torch.manual_seed(0)
    network = PragmaNetwork(NetworkConfig(50, {DIM}, 2, 1, 2, 1, text_dim=text_dim))
    export_graphs(network, Path(sys.argv[1], name))
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Both variants from two processes as unlike as can be: (folder, what the process printed)."""
    running = []
    for seed, packages_missing in ("1", []), ("2", ["transformers", "torchvision"]):
        folder = tmp_path_factory.mktemp("export" * int(seed))
        process = subprocess.Popen(
            [sys.executable, "-c", EXPORT, folder, *packages_missing],
            cwd=folder,
            env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        running.append((process, folder))
    printed = [process.communicate()[0] for process, _ in running]
    assert [process.returncode for process, _ in running] == [0, 0], printed
    return [(folder, output) for (_, folder), output in zip(running, printed, strict=True)]


@pytest.fixture(scope="module")
def folder(exports: list[tuple[Path, str]]) -> Path:
    return exports[0][0]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_network_gives_the_same_bytes(exports: list[tuple[Path, str]]) -> None:
    (one, _), (other, _) = exports
    assert files(one) == files(other)


def test_exporting_says_nothing(exports: list[tuple[Path, str]]) -> None:
    assert [output for _, output in exports] == ["", ""]


@pytest.mark.parametrize("variant", GRAPHS)
def test_the_files_of_a_variant(folder: Path, variant: str) -> None:
    expected = [name + suffix for name in GRAPHS[variant] for suffix in (".onnx", ".onnx.data")]
    assert sorted(path.name for path in (folder / variant).iterdir()) == sorted([*expected, "token_embedding.npy"])


@pytest.mark.parametrize(("variant", "graph"), [(v, name) for v, names in GRAPHS.items() for name in names])
def test_a_graph_is_valid_onnx_without_a_trace_of_its_making(folder: Path, variant: str, graph: str) -> None:
    path = folder / variant / f"{graph}.onnx"
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path, load_external_data=False)
    assert {each.domain: each.version for each in model.opset_import}[""] == 23
    parts = [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer]
    assert not any(part.doc_string or part.metadata_props for part in parts)
    assert b".py" not in path.read_bytes()
    assert str(Path.cwd()).encode() not in path.read_bytes()


@pytest.mark.parametrize("graph", GRAPHS["embed"])
def test_no_fusion_that_is_slow_on_cpu_forms(folder: Path, graph: str, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(folder / "embed" / f"{graph}.onnx", options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph.node
    assert not {node.op_type for node in nodes} & {"SkipLayerNormalization", "BiasGelu", "FastGelu"}


def shapes(path: Path) -> dict[str, list[int | str]]:
    graph = onnx.load(path, load_external_data=False).graph
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }


def test_only_a_text_branch_takes_texts(folder: Path) -> None:
    tokens, vectors = ["n_events", "n_tokens"], {"event_vectors": ["n_events", DIM]}
    assert shapes(folder / "bpe/event_encoder.onnx") == {"tokens": [*tokens, 3]} | vectors
    texts = {"projected_texts": ["n_texts_and_none", DIM]}
    assert shapes(folder / "embed/event_encoder.onnx") == {"tokens": [*tokens, 4]} | texts | vectors
    projection = shapes(folder / "embed/text_projection.onnx")
    assert projection["text_vectors"] == ["n_texts", TEXT_DIM]
    assert projection["projected_texts"][1:] == [DIM]


def test_the_token_table_is_stored_once(folder: Path) -> None:
    for graph, holds_table in ("event_encoder", True), ("profile_encoder", True), ("history_encoder", False):
        model = onnx.load(folder / "bpe" / f"{graph}.onnx", load_external_data=False)
        locations = {
            tensor.name: entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        tables = [name for name, location in locations.items() if location == "token_embedding.npy"]
        assert len(tables) == holds_table
        assert {locations[name] for name in locations if name not in tables} == {f"{graph}.onnx.data"}


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    network = PragmaNetwork(NetworkConfig(20, 16, 2, 1, 1, 1)).to(torch.bfloat16).train()
    export_graphs(network, tmp_path)
    assert all(module.training for module in network.modules())
    assert all(p.requires_grad and p.dtype == torch.bfloat16 for p in network.parameters())
