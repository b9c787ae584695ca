"""A small `scoring` model that does what the record asks for."""

from pathlib import Path

CONFIG = """name: "scoring"
backend: "python"
max_batch_size: 4
input [{ name: "record" data_type: TYPE_STRING dims: [1] }]
output [
  { name: "scores" data_type: TYPE_FP32 dims: [-1] },
  { name: "embedding" data_type: TYPE_FP32 dims: [3] },
  { name: "tasks" data_type: TYPE_STRING dims: [-1] }
]
instance_group [{ kind: KIND_CPU count: 1 }]
"""

# scores of user n are n and the size of its request; `columns` changes how many there are, `tasks` their names, and
# `tell` makes the first name that parameter of the request.
MODEL = """
import json, os, time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        rows = pb_utils.get_input_tensor_by_name(request, "record").as_numpy()[:, 0]
        records = []
        for row, raw in enumerate(rows):
            try:
                record = json.loads(raw.decode("utf-8"))
            except ValueError as error:
                return self.error(f"tokenizer: row {row}: $: expected JSON, got {error}", "INVALID_ARG")
            if "bad" in record:
                text = f"tokenizer: row {row}: $.events[0].ts: expected int, got {record['bad']}"
                return self.error(text, "INVALID_ARG")
            if "error" in record:
                return self.error("asked for", record["error"])
            if "raise" in record:
                raise RuntimeError(record["raise"])
            if "busy_until" in record and time.time() < record["busy_until"]:
                return self.error("queue is full", "UNAVAILABLE")
            time.sleep(record.get("sleep", 0))
            records.append(record)
        columns = records[0].get("columns", 2)
        scores = np.array([[record.get("n", 0), len(records), *[0.0] * columns][:columns] for record in records])
        lengths = [len(record.get("name", "")) for record in records]
        embedding = np.array([[n, 0.25, -1.0] for n in lengths])
        tasks = records[0].get("tasks", ["fraud", "churn"])
        if "tell" in records[0]:
            tasks[0] = json.loads(request.parameters()).get(records[0]["tell"], "nothing")
        names = np.array([[task.encode("latin-1") for task in tasks]] * len(records), np.object_)
        tensors = {
            "scores": scores.reshape(len(records), columns).astype(np.float32),
            "embedding": embedding.astype(np.float32),
            "tasks": names.reshape(len(records), len(tasks)),
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, tensor) for name, tensor in tensors.items()])

    def error(self, text, code):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, getattr(pb_utils.TritonError, code)))
"""


def write_small_repository(folder: Path) -> Path:
    """A model repository with that model alone."""
    version = folder / "scoring" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL, encoding="utf-8")
    (version.parent / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
    return folder
