"""What of the served models callers may read: names, tensors, batch size. All ensembles have the same tensors."""

from typing import Any

from pragmatiq_triton.gateway.identity import MOST_USERS, Ensemble, Identity
from pragmatiq_triton.gateway.outputs import SCORES, TASKS
from pragmatiq_triton.gateway.triton.messages import EMBEDDING
from pragmatiq_triton.probe import SERVER

EXTENSIONS = ("binary_tensor_data", "parameters", "model_configuration", "statistics")


def tensors_of(ensemble: Ensemble, identity: Identity) -> tuple[list[tuple[str, str, int]], list[tuple[str, str, int]]]:
    """Inputs and outputs of an ensemble as name, datatype and width per user."""
    outputs = [(EMBEDDING, "FP32", identity.manifest.dim)]
    if ensemble.tasks:
        outputs = [(SCORES, "FP32", len(ensemble.tasks)), *outputs, (TASKS, "BYTES", len(ensemble.tasks))]
    return [("record", "BYTES", 1)], outputs


def metadata(ensemble: Ensemble, identity: Identity) -> dict[str, Any]:
    """An ensemble's metadata as the KServe protocol has it."""
    inputs, outputs = (
        [{"name": name, "datatype": datatype, "shape": [-1, width]} for name, datatype, width in side]
        for side in tensors_of(ensemble, identity)
    )
    return {"name": ensemble.name, "versions": ["1"], "platform": SERVER, "inputs": inputs, "outputs": outputs}


def config(ensemble: Ensemble, identity: Identity) -> dict[str, Any]:
    """What clients read of an ensemble's config: tensors and batch size."""
    inputs, outputs = (
        [{"name": name, "data_type": _TYPES[datatype], "dims": [width]} for name, datatype, width in side]
        for side in tensors_of(ensemble, identity)
    )
    return {
        "name": ensemble.name,
        "platform": SERVER,
        "max_batch_size": MOST_USERS,
        "input": inputs,
        "output": outputs,
    }


_TYPES = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32"}
