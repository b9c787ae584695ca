"""What the three stages have in common, and how one becomes a Triton Python model."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.errors import DataError, PragmatiqError
from pragmatiq_triton.tensors import Arrays

Tensors = dict[str, npt.NDArray[Any]]
Answer = Tensors | DataError
"""A request's output tensors, or what was wrong with it."""


class Stage(Protocol):
    """One model of the ensemble."""

    def __call__(self, requests: Sequence[Arrays]) -> list[Answer]:
        """Answer the requests of one execution, in their order; a bad request does not touch its neighbours."""
        ...


def isolated(together: Callable[[Sequence[Arrays]], list[Tensors]], requests: Sequence[Arrays]) -> list[Answer]:
    """Answer requests together; where one of them is bad, one by one, so that its neighbours are answered."""
    try:
        return [*together(requests)]
    except DataError as error:
        return [error] if len(requests) == 1 else [isolated(together, [request])[0] for request in requests]


def threads_of(parameters: dict[str, str]) -> int:
    """The model's thread count: its parameter ``threads``, where 0 means every core this process may use."""
    return int(parameters.get("threads", "0")) or len(os.sched_getaffinity(0))


class StageModel(ABC):
    """Base of the repository's ``TritonPythonModel`` classes: decode tensors, call the stage, encode tensors.

    Follows the Python backend's interface (Triton documentation, "Python Backend").
    """

    name: str
    input_names: tuple[str, ...]

    @abstractmethod
    def load(self, folder: Path, parameters: dict[str, str]) -> Stage:
        """Make the stage from the version folder and the config's parameters."""

    def initialize(self, args: dict[str, str]) -> None:
        import triton_python_backend_utils as pb_utils

        self._pb = pb_utils
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        declared = {tensor["name"] for tensor in config["input"]}
        self._inputs = [name for name in self.input_names if name in declared]
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            self._stage = self.load(folder, parameters)
        except PragmatiqError as error:
            raise pb_utils.TritonModelException(f"{self.name}: {error}") from None

    def execute(self, requests: list[Any]) -> list[Any]:
        pb = self._pb
        try:
            arrays = [
                {name: pb.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
                for request in requests
            ]
            answers = self._stage(arrays)
        except Exception as error:
            pb.Logger.log_error(f"{self.name}: {type(error).__name__}: {error}")
            failure = pb.TritonError(f"{self.name}: internal error: {type(error).__name__}", pb.TritonError.INTERNAL)
            return [pb.InferenceResponse(error=failure) for _ in requests]
        return [self._response(answer) for answer in answers]

    def _response(self, answer: Answer) -> Any:
        pb = self._pb
        if isinstance(answer, DataError):
            return pb.InferenceResponse(error=pb.TritonError(f"{self.name}: {answer}", pb.TritonError.INVALID_ARG))
        return pb.InferenceResponse([pb.Tensor(name, np.ascontiguousarray(array)) for name, array in answer.items()])
