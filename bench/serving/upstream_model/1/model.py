"""A Triton model that embeds a JSON list of records by upstream's own code; ``run`` beside it leads to the run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

_read_text = Path.read_text


def _read_utf8(path: Path, encoding: str | None = None, errors: str | None = None) -> str:
    return _read_text(path, encoding or "utf-8", errors)


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        # The stub's locale is ASCII, and upstream opens its vocabulary without naming an encoding.
        Path.read_text = _read_utf8  # type: ignore[assignment]
        from pragmatiq.models.pragmatiq import PragmaModel

        run = Path(args["model_repository"]) / "run"
        self._model = PragmaModel.from_pretrained(str(run.resolve()), device="cpu")

    def execute(self, requests: list[Any]) -> list[Any]:
        return [pb_utils.InferenceResponse([self._embeddings(request)]) for request in requests]

    def _embeddings(self, request: Any) -> Any:
        (records,) = pb_utils.get_input_tensor_by_name(request, "records_json").as_numpy()
        vectors = self._model.embed_records(json.loads(records))
        return pb_utils.Tensor("embeddings", np.ascontiguousarray(vectors, np.float32))
