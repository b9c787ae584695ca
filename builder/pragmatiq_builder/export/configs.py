"""The models' ``config.pbtxt``: the templates, made exact for one run."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pragmatiq_builder.export.layout import ENSEMBLE, SCORER, ScoringModel
from pragmatiq_builder.shared_folders import shared_folder
from pragmatiq_triton.cache.snapshot import EVENT_VECTORS
from pragmatiq_triton.serving.seals import VECTORS_SEAL
from pragmatiq_triton.tensors import (
    EMBEDDING,
    FEATURES,
    SCORES,
    TASK_NAMES,
    TEXT_OFFSETS,
    TEXT_VECTORS,
    TEXTS,
    task_names,
)
from pragmatiq_triton.tokenizer import Tokenizer

TOKENIZER = "tokenizer"
TEXT_EMBEDDER = "text_embedder"
CODE = "model.py"


@dataclass(frozen=True, slots=True)
class Templates:
    """The configs of one repository, by its sizes: a width of 0 means that there is no such tensor."""

    dim: int
    text_dim: int
    encoding: Tokenizer

    def tokenizer(self) -> ModelConfig:
        """With the features that the heads read."""
        config = self._read(TOKENIZER)
        if self.encoding.features.level != "none":
            config.parameters["features"].string_value = self.encoding.features.level
        if self.encoding.own.names:
            config.parameters["own_features"].string_value = ",".join(self.encoding.own.names)
        return config

    def text_embedder(self) -> ModelConfig:
        return self._read(TEXT_EMBEDDER)

    def scorer(self, model: ScoringModel, event_vectors: str) -> ModelConfig:
        """Under its own name, with the names of its tasks and the limit on events of the network that it holds.

        ``event_vectors``: the hash of what its event vectors depend on.
        """
        config = self._read(SCORER, model.tasks)
        config.name = model.scorer
        config.parameters["tasks"].string_value = json.dumps(model.tasks)
        config.parameters[EVENT_VECTORS].string_value = event_vectors
        if model.max_events:
            config.parameters["max_events"].string_value = str(model.max_events)
        return config

    def ensemble(self, model: ScoringModel) -> ModelConfig:
        """Leading to its own scorer, with the names of its tasks."""
        config = self._read(ENSEMBLE, model.tasks)
        config.name = model.ensemble
        config.parameters["tasks"].string_value = json.dumps(model.tasks)
        for step in config.ensemble_scheduling.step:
            if step.model_name == SCORER:
                step.model_name = model.scorer
        return config

    def _read(self, model: str, tasks: Sequence[str] = ()) -> ModelConfig:
        """The template with exact sizes, without the tensors that this repository does not have."""
        n_features = len(self.encoding.feature_names)
        sizes = {EMBEDDING: [self.dim], FEATURES: [n_features], TEXT_VECTORS: [-1, self.text_dim]}
        sizes[SCORES] = [len(tasks)]
        sizes[TASK_NAMES] = [len(task_names(tasks))]
        path = template_folder() / model / "config.pbtxt"
        config = text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
        if not self.text_dim:
            _drop(config, (TEXTS, TEXT_OFFSETS, TEXT_VECTORS, VECTORS_SEAL), TEXT_EMBEDDER)
        if not n_features:
            _drop(config, (FEATURES,))
        if not tasks:
            _drop(config, (SCORES,))
        for tensor in [*config.input, *config.output]:
            tensor.dims[:] = sizes.get(tensor.name, tensor.dims)
        return config


def template_folder() -> Path:
    """The ``model_repository`` folder with the models' templates."""
    return shared_folder("model_repository")


def _drop(config: ModelConfig, names: Collection[str], model: str | None = None) -> None:
    """Leave out the tensors ``names`` and the step of ``model``, which makes them."""
    for tensors in (config.input, config.output):
        for tensor in [tensor for tensor in tensors if tensor.name in names]:
            tensors.remove(tensor)
    if not config.HasField("ensemble_scheduling"):
        return
    steps = config.ensemble_scheduling.step
    for step in [step for step in steps if step.model_name == model]:
        steps.remove(step)
    for step in steps:
        for name in names:
            step.input_map.pop(name, None)
            step.output_map.pop(name, None)
