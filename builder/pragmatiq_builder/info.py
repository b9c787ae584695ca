"""Describing a run, a tokenized data set, a model repository, or this installation."""

import json
import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pragmatiq_builder.lineage import in_words, init_from
from pragmatiq_triton.errors import ArtifactError, ConfigError, MissingDependencyError
from pragmatiq_triton.model_folders import what_else
from pragmatiq_triton.operator_settings import read_model_settings, read_settings_file
from pragmatiq_triton.server import find_server_environment
from pragmatiq_triton.text_encoders import TextEncoderSpec
from pragmatiq_triton.text_encoders.trust import OPTION, code_of
from pragmatiq_triton.tokenizer import Vocabulary

if TYPE_CHECKING:
    from pragmatiq_builder.dataset.field_table import FieldTable

PACKAGES = ("numpy", "torch", "transformers", "onnxruntime", "pyarrow", "tritonclient", "nvidia-pytriton")
NO_FIELDS = {"fields": "no table of them: made by another version, or by the upstream toolkit"}


def describe(path: Path | None, settings: Path | None = None) -> tuple[str, dict[str, Any], "FieldTable | None"]:
    """A title, what is to be said of ``path``, and the table of fields of a data set or a run that has one.

    ``settings`` are an operator's, of a model repository.

    Raises :class:`ArtifactError` where it is nothing of ours, :class:`ConfigError` where the settings do not fit it.
    """
    if settings is not None and (path is None or not (path / "manifest.json").exists()):
        raise ConfigError(f"--settings: {path or 'this installation'} is no model repository, which alone has some")
    if path is None:
        return "This installation", _installation(), None
    if (path / "manifest.json").exists():
        from pragmatiq_builder.export.manifest import altered_files, read_manifest

        manifest = read_manifest(path)
        spec = msgspec.convert(manifest.text_encoder, TextEncoderSpec) if manifest.text_encoder else None
        values = {**msgspec.to_builtins(manifest), "files": len(manifest.files), "altered": altered_files(path)}
        del values["configs"]
        values["settings"] = _in_force(path, settings)
        return f"Model repository {path}", values | _code(spec), None
    if _looks_like_a_run(path):
        from pragmatiq_builder.dataset.field_table import FieldTable
        from pragmatiq_builder.heads.saved import saved_heads
        from pragmatiq_builder.runs import has_checkpoint, is_upstream, load_run

        if not has_checkpoint(path) and not is_upstream(path):
            without = {
                "name": path.resolve().name,
                "checkpoint": "none: a run without a checkpoint; training has not come to the first one. "
                "`pragmatiq pretrain ... --resume auto` begins it again",
            }
            return f"Run {path}", without, FieldTable.load(path)
        run, heads = load_run(path), saved_heads(path)
        about = {
            "name": run.name,
            "origin": run.origin,
            "tokenizer_hash": run.tokenizer_hash,
            "text_encoder": run.text_encoder,
            "tasks": {saved.head.task: saved.head.method for saved in heads},
            "evaluations": {saved.head.task: [file.name for file in saved.evaluation_files] for saved in heads},
            "parameters": sum(parameter.numel() for parameter in run.network.parameters()),
        }
        if final := {
            saved.head.task: saved.head.info["final"]["rows"] for saved in heads if "final" in saved.head.info
        }:
            about["fitted_to_all_rows"] = final
        if began := init_from(path):
            about["init_from"] = in_words(began)
        about |= {**msgspec.to_builtins(run.network.config), **_code(run.vocabulary.config.text_encoder_spec)}
        fields = FieldTable.load(path)
        return f"Run {path}", about | ({} if fields else NO_FIELDS), fields
    if (path / "meta.json").exists():
        from pragmatiq_builder.dataset.field_table import FieldTable

        try:
            meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path / 'meta.json'}: cannot be read: {error}; tokenize again") from None
        if not isinstance(meta, dict) or "tokenizer_hash" not in meta:
            raise ArtifactError(f"{path}: expected a run, a tokenized data set or a model repository")
        spec = Vocabulary.load(path / "tokenizer").config.text_encoder_spec
        return f"Tokenized data set {path}", {**meta, **_code(spec)}, FieldTable.load(path)
    instead = what_else(path)
    told = f": {instead}" if instead else ""
    raise ArtifactError(f"{path}: expected a run, a tokenized data set or a model repository{told}")


def _in_force(repository: Path, file: Path | None) -> dict[str, dict[str, dict[str, str]]]:
    """The models' settings, each with its value and who said it."""
    found = read_model_settings(repository, read_settings_file(file), os.environ, str(file))
    told = {
        model: {name: each._asdict() for name, each in values.items() if each.value} for model, values in found.items()
    }
    return {model: values for model, values in told.items() if values}


def _looks_like_a_run(path: Path) -> bool:
    """As :func:`pragmatiq_builder.runs.is_run`, without torch, which takes seconds to import."""
    return (path / "checkpoints").exists() or (path / "run.yaml").exists()


def _code(spec: TextEncoderSpec | None) -> dict[str, str]:
    """A line about code that came with the data; empty if there is no such code."""
    code = code_of(spec) if spec else None
    return {"runs_code": f"{code}, if the operator says {OPTION}"} if code else {}


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
