"""What ``import pragmatiq_triton as pt`` offers: a model to load, and the commands as functions."""

from pragmatiq_builder.python_api.commands import (
    compare_runs,
    evaluate,
    export,
    finetune,
    ingest,
    predict,
    pretrain,
    synth,
    tokenize,
    validate,
)
from pragmatiq_builder.python_api.model import Model, load

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
