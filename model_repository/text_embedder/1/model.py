"""Triton model ``text_embedder``: distinct strings in, their frozen vectors out."""

from pathlib import Path

from pragmatiq_triton.serving.embedding import TextEmbedderStage
from pragmatiq_triton.serving.stage import Stage, StageModel


class TritonPythonModel(StageModel):
    name = "text_embedder"
    input_names = ("texts", "text_offsets")

    def load(self, folder: Path, parameters: dict[str, str]) -> Stage:
        return TextEmbedderStage.load(folder, parameters)
