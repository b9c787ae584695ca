"""Small model repositories for the real server."""

from collections.abc import Callable
from pathlib import Path

import pytest

CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 8
input [{{ name: "x" data_type: TYPE_FP32 dims: [2] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [2] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""

DOUBLING = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", 2 * x)]) for x in inputs]
"""


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[..., Path]:
    """Write one Python model per keyword, named and sourced by it."""

    def make(**sources: str) -> Path:
        repository = tmp_path / "repository"
        for name, source in sources.items():
            version = repository / name / "1"
            version.mkdir(parents=True)
            (version / "model.py").write_text(source, encoding="utf-8")
            (version.parent / "config.pbtxt").write_text(CONFIG.format(name=name), encoding="utf-8")
        return repository

    return make


@pytest.fixture
def doubling(make_repository: Callable[..., Path]) -> Path:
    return make_repository(doubling=DOUBLING)
