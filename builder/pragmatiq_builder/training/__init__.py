"""Pre-training: from a tokenized data set to a run."""

from pragmatiq_builder.training.data import TrainingData
from pragmatiq_builder.training.pretrain import pretrain
from pragmatiq_builder.training.settings import PretrainSettings, load_settings

__all__ = ["PretrainSettings", "TrainingData", "load_settings", "pretrain"]
