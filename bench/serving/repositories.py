"""What a benchmark changes in an exported model repository: cache bounds, and outputs that nothing is in."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pragmatiq_triton.tensors import SCORES, TASKS


def bounded(repository: Path, out: Path, bounds: dict[str, int]) -> dict[str, int]:
    """Copy a repository with other cache bounds; returns those of ``bounds`` that one of its models has."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(repository, out)
    found = {}
    for path in out.glob("*/config.pbtxt"):
        with _edited(path) as config:
            for name in bounds.keys() & config.parameters.keys():
                config.parameters[name].string_value = str(bounds[name])
                found[name] = bounds[name]
    return found


def without_empty_scores(repository: Path) -> None:
    """Let ensembles without tasks answer with the embedding alone.

    perf_analyzer reads a number from the empty ``scores`` that is not there; where it happens to be NaN, its export
    ends in the middle. The ``tasks`` that would name them go too.
    """
    for path in repository.glob("*/config.pbtxt"):
        with _edited(path) as config:
            if "tasks" in config.parameters and not json.loads(config.parameters["tasks"].string_value):
                kept = [output for output in config.output if output.name not in (SCORES, TASKS)]
                del config.output[:]
                config.output.extend(kept)
                for step in config.ensemble_scheduling.step:
                    step.output_map.pop(SCORES, None)
                    step.output_map.pop(TASKS, None)


@contextmanager
def _edited(path: Path) -> Iterator[ModelConfig]:
    config = text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
    yield config
    path.write_text(text_format.MessageToString(config), encoding="utf-8")
