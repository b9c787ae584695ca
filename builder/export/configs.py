"""The models' ``config.pbtxt``: the templates, made exact for one run."""

from importlib import resources
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from pragmatiq_triton.tensors import EMBEDDING, TEXT_OFFSETS, TEXT_VECTORS, TEXTS

ENSEMBLE = "scoring"
TEXT_EMBEDDER = "text_embedder"


def template_folder() -> Path:
    """The ``model_repository`` folder: beside the packages in a checkout, inside them when installed."""
    packaged = Path(str(resources.files("builder"))) / "_share" / "model_repository"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "model_repository"


def model_names(text_dim: int) -> list[str]:
    """The models of a repository; without a text branch there is nothing to embed."""
    return ["tokenizer", *([TEXT_EMBEDDER] if text_dim else []), "scorer", ENSEMBLE]


def write_config(model: str, folder: Path, dim: int, text_dim: int) -> None:
    """Write ``folder/config.pbtxt`` of ``model`` with exact sizes; BPE repositories have no tensors of text."""
    config = text_format.Parse(
        (template_folder() / model / "config.pbtxt").read_text(encoding="utf-8"), model_config_pb2.ModelConfig()
    )
    if not text_dim:
        _drop_text(config)
    for tensor in [*config.input, *config.output]:
        if tensor.name == EMBEDDING:
            tensor.dims[:] = [dim]
        elif tensor.name == TEXT_VECTORS:
            tensor.dims[:] = [-1, text_dim]
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")


def _drop_text(config: model_config_pb2.ModelConfig) -> None:
    names = (TEXTS, TEXT_OFFSETS, TEXT_VECTORS)
    for tensors in (config.input, config.output):
        for tensor in [tensor for tensor in tensors if tensor.name in names]:
            tensors.remove(tensor)
    if not config.HasField("ensemble_scheduling"):
        return
    steps = config.ensemble_scheduling.step
    for step in [step for step in steps if step.model_name == TEXT_EMBEDDER]:
        steps.remove(step)
    for step in steps:
        for name in names:
            step.input_map.pop(name, None)
            step.output_map.pop(name, None)
