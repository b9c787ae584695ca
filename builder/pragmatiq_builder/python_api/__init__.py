"""What ``import pragmatiq_triton as pt`` offers: a model to load, and the commands as functions."""

from pragmatiq_builder.python_api.data import ingest, synth, tokenize, validate
from pragmatiq_builder.python_api.model import Model, load
from pragmatiq_builder.python_api.repositories import export, predict
from pragmatiq_builder.python_api.training import compare_runs, evaluate, finetune, pretrain

__all__ = [
    "Model",
    "compare_runs",
    "evaluate",
    "export",
    "finetune",
    "ingest",
    "load",
    "predict",
    "pretrain",
    "synth",
    "tokenize",
    "validate",
]
