"""Triton model ``tokenizer``: JSON records in; tokens, times, distinct strings and features out."""

from pathlib import Path

from pragmatiq_triton.serving.stage import Stage, StageModel
from pragmatiq_triton.serving.tokenizing import TokenizerStage


class TritonPythonModel(StageModel):
    name = "tokenizer"
    input_names = ("record",)

    def load(self, folder: Path, parameters: dict[str, str]) -> Stage:
        return TokenizerStage.load(folder, parameters)
