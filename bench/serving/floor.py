"""What Triton itself takes: an ensemble of three Python models that do nothing, asked as ours is."""

import shutil
from pathlib import Path

from bench.serving.analyzer import Load, analyze
from bench.serving.fetch import Program
from bench.serving.servers import endpoint, serve

N_MODELS = 3
REQUESTS_PER_SECOND = 400

_MODEL = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        nothing = np.zeros((1, 1), np.float32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("out", nothing)]) for _ in requests]
"""
_CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 64
dynamic_batching {{}}
input [ {{ name: "in" data_type: {type} dims: [ 1 ] }} ]
output [ {{ name: "out" data_type: TYPE_FP32 dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""
_STEP = """{{ model_name: "{name}" model_version: -1
  input_map {{ key: "in" value: "{read}" }} output_map {{ key: "out" value: "{written}" }} }}"""
_ENSEMBLE = """name: "scoring"
platform: "ensemble"
max_batch_size: 64
input [ {{ name: "record" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "embedding" data_type: TYPE_FP32 dims: [ 1 ] }} ]
ensemble_scheduling {{ step [ {steps} ] }}
"""


def milliseconds_of_nothing(program: Program, seconds: float, work: Path) -> float:
    """The p50 of one caller, in ms."""
    repository = work / "repositories" / "nothing"
    shutil.rmtree(repository, ignore_errors=True)
    values = ["record", *(f"after_{number}" for number in range(1, N_MODELS)), "embedding"]
    steps = []
    for number in range(N_MODELS):
        name = f"nothing_{number}"
        _add(repository / name, _CONFIG.format(name=name, type="TYPE_FP32" if number else "TYPE_STRING"))
        (repository / name / "1" / "model.py").write_text(_MODEL, encoding="utf-8")
        steps.append(_STEP.format(name=name, read=values[number], written=values[number + 1]))
    _add(repository / "scoring", _ENSEMBLE.format(steps=", ".join(steps)))
    with serve(repository) as server:
        entries = [f'{{"events": [], "user_id": "{i}"}}' for i in range(2 + int(seconds * REQUESTS_PER_SECOND))]
        return analyze(program, endpoint(server).target, Load(1), entries, seconds, work / "analyzer").percentile(50)


def _add(model: Path, config: str) -> None:
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(config, encoding="utf-8")
