"""A repository of a few lines that the real server takes as one that export wrote."""

from pathlib import Path

import msgspec
import pytest

from pragmatiq_triton.manifest import FILE, FORMAT, Manifest

SLEEPING = """
import json, os, time
from pathlib import Path
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            records = pb_utils.get_input_tensor_by_name(request, "record").as_numpy()
            asked = json.loads(records[0, 0])
            if "tell" in asked:
                Path(asked["tell"], str(os.getpid())).touch()
            time.sleep(asked.get("sleep", 0))
            zeros = np.zeros((len(records), 2), np.float32)
            tensors = [pb_utils.Tensor(name, zeros) for name in ("scores", "embedding")]
            answers.append(pb_utils.InferenceResponse(tensors))
        return answers
"""
TENSORS = """max_batch_size: 8
input [{ name: "record" data_type: TYPE_STRING dims: [1] }]
output [{ name: "scores" data_type: TYPE_FP32 dims: [2] }, { name: "embedding" data_type: TYPE_FP32 dims: [2] }]
"""
ENSEMBLE = """name: "scoring"
platform: "ensemble"
ensemble_scheduling { step [{ model_name: "scorer" model_version: 1
  input_map { key: "record" value: "record" }
  output_map [{ key: "scores" value: "scores" }, { key: "embedding" value: "embedding" }] }] }
"""


@pytest.fixture
def sleeping(tmp_path: Path) -> Path:
    """A repository as export writes it, of an ensemble that takes as long as a record says (``sleep``, in seconds).

    Its model has three processes, so that health checks get through meanwhile; the one that is at a record leaves a
    file of its number in the folder ``tell``.
    """
    repository = tmp_path / "sleeping"
    for name, config in (
        ("scoring", ENSEMBLE + TENSORS),
        ("scorer", f'name: "scorer"\nbackend: "python"\n{TENSORS}instance_group [{{ kind: KIND_CPU count: 3 }}]\n'),
    ):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    (repository / "scorer" / "1" / "model.py").write_text(SLEEPING, encoding="utf-8")
    manifest = Manifest(
        format=FORMAT,
        run="by hand",
        origin="",
        variant="bpe",
        tokenizer_hash="",
        weights_hash="",
        text_encoder=None,
        tasks={"scoring": ["fraud", "default"]},
        heads=[],
        dim=2,
        vocab_size=0,
        precision="fp32",
        quantization=None,
        versions={},
        files={},
    )
    (repository / FILE).write_bytes(msgspec.json.encode(manifest))
    return repository
