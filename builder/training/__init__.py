"""Pre-training: from a tokenized data set to a run."""

from builder.training.data import TrainingData
from builder.training.pretrain import pretrain
from builder.training.settings import PretrainSettings, load_settings

__all__ = ["PretrainSettings", "TrainingData", "load_settings", "pretrain"]
