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
        "import sys; sys.modules.update(onnxruntime=None, torch=None, builder=None); import pragmatiq_triton.scorer"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
