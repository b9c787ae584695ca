"""Triton model ``scorer``: tokens, times, text vectors and features in; scores and embedding out."""

from pathlib import Path

from pragmatiq_triton.serving.scoring import ScorerStage
from pragmatiq_triton.serving.stage import Stage, StageModel


class TritonPythonModel(StageModel):
    name = "scorer"
    input_names = ("tokens", "events", "event_keys", "profile", "profile_times", "text_vectors", "features")

    def load(self, folder: Path, parameters: dict[str, str]) -> Stage:
        return ScorerStage.load(folder, parameters)
