import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pragmatiq_triton.errors import ArtifactError, MissingDependencyError
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.scorer.sessions import TOKEN_EMBEDDING

from .conftest import Exported


@pytest.fixture
def copied(exported: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.folder, tmp_path / "model"))


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_missing_file_is_named(copied: Path) -> None:
    for name in file_names(copied):
        content = (copied / name).read_bytes()
        (copied / name).unlink()
        with pytest.raises(ArtifactError, match=name.removesuffix(".data")):
            Scorer(copied)
        (copied / name).write_bytes(content)
    Scorer(copied)


def test_a_truncated_file_is_named(copied: Path) -> None:
    for name in file_names(copied):
        content = (copied / name).read_bytes()
        for size in 0, len(content) // 2:
            (copied / name).write_bytes(content[:size])
            with pytest.raises(ArtifactError, match=name.removesuffix(".data")):
                Scorer(copied)
        (copied / name).write_bytes(content)


@pytest.mark.parametrize("table", [np.zeros((3, 4)), np.zeros(3, np.float32)])
def test_a_table_of_another_kind(copied: Path, table: np.ndarray) -> None:
    np.save(copied / TOKEN_EMBEDDING, table)
    with pytest.raises(ArtifactError, match=r"expected float32 \[vocab_size, dim\]"):
        Scorer(copied)


def test_without_onnxruntime(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pragmatiq-triton\[serve\]"):
        Scorer(exported.folder)


def test_importing_needs_neither_onnxruntime_nor_torch() -> None:
    script = (
        "import sys; sys.modules.update(onnxruntime=None, torch=None, pragmatiq_builder=None); "
        "import pragmatiq_triton.scorer"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("module", ["pragmatiq_triton.scorer.sessions", "pragmatiq_builder.heads.scorer"])
def test_onnx_runtime_keeps_no_id_and_reports_to_nobody(tmp_path: Path, module: str) -> None:
    script = (
        f"import sys, {module}, onnx, onnxruntime, time; from onnx.helper import *; "
        "x, y = (make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in 'xy'); "
        "graph = make_graph([make_node('Identity', ['x'], ['y'])], 'g', [x], [y]); "
        "model = make_model(graph, ir_version=10, opset_imports=[make_opsetid('', 20)]).SerializeToString(); "
        "onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider']); time.sleep(0.5)"
    )
    home = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], env=home, check=True)
    assert [*tmp_path.rglob("*")] == []
