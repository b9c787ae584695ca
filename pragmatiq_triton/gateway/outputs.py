"""The outputs that callers may ask for, in either protocol: scores, their names, and the embedding."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pragmatiq_triton.gateway.errors import MalformedError, ModelError
from pragmatiq_triton.gateway.identity import Ensemble
from pragmatiq_triton.gateway.inference import InferenceAnswer
from pragmatiq_triton.gateway.triton.messages import EMBEDDING

SCORES = "scores"
TASKS = "tasks"
OUTPUTS = (SCORES, EMBEDDING, TASKS)


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output of an answer; ``raw`` is as the binary protocols have it."""

    name: str
    datatype: str
    shape: list[int]
    raw: bytes | memoryview
    names: tuple[str, ...] = ()

    def values(self) -> list[Any]:
        """The same as numbers or strings, row after row."""
        if self.datatype == "BYTES":
            return [*self.names] * self.shape[0]
        return memoryview(self.raw).cast("f").tolist()


def check_outputs(names: Sequence[str]) -> tuple[str, ...]:
    """The outputs that are asked for, none where all that there are; :class:`MalformedError` for others."""
    if len(names) > len(OUTPUTS) or len(set(names)) != len(names) or not set(names) <= set(OUTPUTS):
        raise MalformedError(f"outputs: expected some of {', '.join(OUTPUTS)}, each once")
    return tuple(names)


def outputs_of_models(names: Sequence[str], ensemble: Ensemble) -> tuple[str, ...]:
    """Those of the outputs that the models give: the names are ours, and without tasks there are no scores."""
    asked = tuple(name for name in names or OUTPUTS if name == EMBEDDING or (name == SCORES and ensemble.tasks))
    return asked or (EMBEDDING,)


def output_tensors(answer: InferenceAnswer, names: Sequence[str]) -> list[OutputTensor]:
    """The outputs ``names`` of an answer, all that its ensemble has where none is named.

    :class:`ModelError` where the models gave other shapes than the repository promises.
    """
    ensemble = answer.request.ensemble
    n_users = len(answer.request.documents)
    tensors = []
    for name in names or (OUTPUTS if ensemble.tasks else (EMBEDDING,)):
        if name == TASKS or (name == SCORES and not ensemble.tasks):
            shape = [n_users, len(ensemble.tasks)]
            raw = _names(ensemble.tasks) * n_users if name == TASKS else b""
            tensors.append(OutputTensor(name, "BYTES" if name == TASKS else "FP32", shape, raw, ensemble.tasks))
            continue
        output = answer.outputs.get(name)
        width = len(ensemble.tasks) if name == SCORES else None
        if (
            output is None
            or len(output.shape) != 2
            or output.shape[0] != n_users
            or output.shape[1] != (output.shape[1] if width is None else width)
            or 4 * n_users * output.shape[1] != len(output.data)
        ):
            raise ModelError(f"the models gave `{name}` in another shape than the repository promises")
        tensors.append(OutputTensor(name, "FP32", output.shape, output.data))
    return tensors


def _names(tasks: Sequence[str]) -> bytes:
    encoded = [task.encode("utf-8") for task in tasks]
    return b"".join(struct.pack("<I", len(name)) + name for name in encoded)
