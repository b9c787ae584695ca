"""The exported graphs, opened by ONNX Runtime for the CPU."""

from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, MissingDependencyError

EVENT_ENCODER = "event_encoder.onnx"
PROFILE_ENCODER = "profile_encoder.onnx"
HISTORY_ENCODER = "history_encoder.onnx"
TEXT_PROJECTION = "text_projection.onnx"
TOKEN_EMBEDDING = "token_embedding.npy"
HEADS = "heads.onnx"

_DAMAGED = "the model's files are incomplete or damaged: export the run again"


class Graph:
    """One ONNX graph; any number of threads may call it at once."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load ``path``, each call to run on ``threads`` threads, the caller's among them.

        :class:`ArtifactError` if it or the weights beside it are missing or damaged.
        """
        try:
            ort = import_module("onnxruntime")
        except ImportError as error:
            raise MissingDependencyError(
                f'scoring needs onnxruntime ({error}): pip install "pragmatiq-triton[serve]"'
            ) from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # A spinning thread takes its core from the next call, and from the server's other models.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Lengths differ from call to call, and a memory plan would be kept for every one of them.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; {_DAMAGED}")
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no other base
            raise ArtifactError(f"{path}: ONNX Runtime cannot load it ({error}); {_DAMAGED}") from error

    def __call__(self, **inputs: npt.NDArray[Any]) -> Float32:
        """The vectors [n, d] that the graph makes of its inputs: its first output."""
        return self.outputs(**inputs)[0]

    def outputs(self, **inputs: npt.NDArray[Any]) -> list[Float32]:
        """All that the graph makes of its inputs."""
        return cast(list[Float32], self._session.run(None, inputs))

    @property
    def input_shapes(self) -> dict[str, list[int | str]]:
        """Each input's shape; a dimension that varies is a name."""
        return {each.name: each.shape for each in self._session.get_inputs()}

    @property
    def output_shapes(self) -> dict[str, list[int | str]]:
        """Each output's shape; a dimension that varies is a name."""
        return {each.name: each.shape for each in self._session.get_outputs()}

    @property
    def properties(self) -> dict[str, str]:
        """What export wrote beside the graph."""
        return cast(dict[str, str], self._session.get_modelmeta().custom_metadata_map)


def table_shape(path: Path) -> tuple[int, int]:
    """(vocab_size, dim) of the token table at ``path``; :class:`ArtifactError` if it is none."""
    try:
        table = np.load(path, mmap_mode="r")
    except (OSError, EOFError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); {_DAMAGED}") from error
    if table.ndim != 2 or table.dtype != np.float32:
        raise ArtifactError(
            f"{path}: {table.dtype} {list(table.shape)}, expected float32 [vocab_size, dim]; {_DAMAGED}"
        )
    return cast(tuple[int, int], table.shape)
