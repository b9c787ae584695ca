"""Describing a run, a tokenized data set, a model repository, or this installation."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from pragmatiq_triton.embedded import find_server_environment
from pragmatiq_triton.errors import ArtifactError, MissingDependencyError

PACKAGES = ("numpy", "torch", "transformers", "onnxruntime", "pyarrow", "tritonclient", "nvidia-pytriton")


def describe(path: Path | None) -> tuple[str, dict[str, Any]]:
    """A title and what is to be said of ``path``; :class:`ArtifactError` where it is nothing of ours."""
    if path is None:
        return "This installation", _installation()
    if (path / "manifest.json").exists():
        from builder.export.repository import altered_files, read_manifest

        values = msgspec.to_builtins(read_manifest(path))
        return f"Model repository {path}", {**values, "files": len(values["files"]), "altered": altered_files(path)}
    if (path / "checkpoints").exists():
        from builder.runs import load_run

        run = load_run(path)
        config = msgspec.to_builtins(run.network.config)
        parameters = sum(parameter.numel() for parameter in run.network.parameters())
        head = {"name": run.name, "origin": run.origin, "tokenizer_hash": run.tokenizer_hash}
        return f"Run {path}", {**head, "text_encoder": run.text_encoder, "parameters": parameters, **config}
    if (path / "meta.json").exists():
        return f"Tokenized data set {path}", json.loads((path / "meta.json").read_text(encoding="utf-8"))
    raise ArtifactError(f"{path}: expected a run, a tokenized data set or a model repository")


def _installation() -> dict[str, Any]:
    values = {"pragmatiq-triton": metadata.version("pragmatiq-triton")}
    for name in PACKAGES:
        try:
            values[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            values[name] = "not installed"
    try:
        values["server"] = str(find_server_environment().tritonserver)
    except MissingDependencyError as error:
        values["server"] = f"none: {error}"
    return values
