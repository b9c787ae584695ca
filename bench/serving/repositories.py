"""What a benchmark changes in an exported model repository: cache bounds, and outputs that nothing is in."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig


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


@contextmanager
def _edited(path: Path) -> Iterator[ModelConfig]:
    config = text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
    yield config
    path.write_text(text_format.MessageToString(config), encoding="utf-8")
