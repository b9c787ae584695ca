"""PRAGMA-style banking event models: ``import pragmatiq_triton as pt``, and docs/python-api.md says what it offers."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pragmatiq_builder.python_api import (
        Model,
        compare_runs,
        evaluate,
        export,
        finetune,
        ingest,
        load,
        predict,
        pretrain,
        synth,
        tokenize,
        validate,
    )

# ONNX Runtime 1.32 keeps an id of the machine and reports to Microsoft unless it finds this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

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


def __getattr__(name: str) -> Any:
    """What is in ``__all__``, when it is first asked for: a server imports this package too, and needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module("pragmatiq_builder.python_api"), name)
    except ModuleNotFoundError as error:
        from pragmatiq_triton.errors import MissingDependencyError

        if (error.name or "").partition(".")[0] != "pragmatiq_builder":
            raise
        raise MissingDependencyError(
            f"pragmatiq_triton.{name} needs the package pragmatiq_builder, which only serving does without; install "
            "the whole wheel: pip install pragmatiq-triton"
        ) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]
