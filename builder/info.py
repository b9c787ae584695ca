"""Describing a run, a tokenized data set, a model repository, or this installation."""

import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pragmatiq_triton.embedded import find_server_environment
from pragmatiq_triton.errors import ArtifactError, MissingDependencyError

if TYPE_CHECKING:
    from builder.dataset.field_table import FieldTable

PACKAGES = ("numpy", "torch", "transformers", "onnxruntime", "pyarrow", "tritonclient", "nvidia-pytriton")


def describe(path: Path | None) -> tuple[str, dict[str, Any], "FieldTable | None"]:
    """A title, what is to be said of ``path``, and the table of fields of a data set or a run that has one.

    Raises :class:`ArtifactError` where it is nothing of ours.
    """
    if path is None:
        return "This installation", _installation(), None
    if (path / "manifest.json").exists():
        from builder.export.manifest import altered_files, read_manifest

        values = msgspec.to_builtins(read_manifest(path))
        return (
            f"Model repository {path}",
            {**values, "files": len(values["files"]), "altered": altered_files(path)},
            None,
        )
    if (path / "checkpoints").exists():
        from builder.dataset.field_table import FieldTable
        from builder.heads.saved import saved_heads
        from builder.runs import load_run

        run = load_run(path)
        about = {
            "name": run.name,
            "origin": run.origin,
            "tokenizer_hash": run.tokenizer_hash,
            "text_encoder": run.text_encoder,
            "tasks": {saved.head.task: saved.head.method for saved in saved_heads(path)},
            "parameters": sum(parameter.numel() for parameter in run.network.parameters()),
        }
        return f"Run {path}", {**about, **msgspec.to_builtins(run.network.config)}, FieldTable.load(path)
    if (path / "meta.json").exists():
        from builder.dataset.field_table import FieldTable

        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        return f"Tokenized data set {path}", meta, FieldTable.load(path)
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
