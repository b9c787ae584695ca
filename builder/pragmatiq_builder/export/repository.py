"""Assembling a Triton model repository: templates, tokenizer, graphs, heads, text vectors, model card and manifest."""

import shutil
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pragmatiq_builder.export import manifest as manifests
from pragmatiq_builder.export.configs import CODE, TEXT_EMBEDDER, TOKENIZER, Templates, template_folder
from pragmatiq_builder.export.event_vectors import event_vectors_hash
from pragmatiq_builder.export.layout import (
    ENSEMBLE,
    SCORER,
    ScoringModel,
    require_fitted_to,
    scoring_models,
    tokenizer_of,
)
from pragmatiq_builder.export.manifest import HeadEntry, Manifest, Quantization, configs_of, file_hashes, write_manifest
from pragmatiq_builder.export.model_card import write_model_card
from pragmatiq_builder.export.replacement import require_replaceable, what_is_replaced
from pragmatiq_builder.heads import heads_graph
from pragmatiq_builder.heads.lora import load_adapters, merged
from pragmatiq_builder.heads.saved import SavedHead, saved_heads
from pragmatiq_builder.lineage import init_from
from pragmatiq_builder.onnx.graphs import export_graphs
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.replacing import replaced_folder
from pragmatiq_builder.runs import Run, weights_hash
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.scorer.sessions import HEADS

MODEL_CARD = "MODEL_CARD.md"
VERSION_FOLDER = "1"
_FITTED = ("calibrator", "rows", "cutoff", "split", "final", "labels_sha256", "own_features")
PACKAGES = ("pragmatiq-triton", "torch", "onnx", "onnxscript")

Quantizer = Callable[[ScoringModel, Path], Quantization]
"""Turns the event encoder in a model's scorer folder into int8 and says what that costs."""


def export_repository(
    run: Run,
    out: Path,
    *,
    text_vectors: Path | None = None,
    text_model: Path | None = None,
    quantizer: Quantizer | None = None,
    progress: Progress = Silent(),
) -> Manifest:
    """Write the run with its task heads as a complete model repository at ``out``, replacing an older one as a whole.

    ``text_vectors``: an .npz of further strings and their vectors for the table. ``text_model``: the local folder of
    the frozen model, copied into the repository. ``quantizer``: what makes it int8; without it stays float32.

    Until the new one is complete the old one stays as it is; ``progress`` is told what of another run, or changed by
    hand, was replaced.

    Raises :class:`ArtifactError` where ``out`` holds something that is no repository, the text vectors do not fit, or a
    head is incomplete or was fitted to another network or tokenizer; further what
    :func:`pragmatiq_builder.replacing.replaced_folder` raises where ``out`` cannot be replaced.
    """
    room = _room(run, text_model)
    with replaced_folder(out, "model repository", require_replaceable, room=room, progress=progress) as new:
        manifest = _write(run, new, text_vectors, text_model, quantizer, progress)
        replaced = what_is_replaced(out, manifest)
    for line in replaced:
        progress.say(line)
    return manifest


def _room(run: Run, text_model: Path | None) -> int:
    """About the bytes of the repository: the graphs and the token table, the strings' vectors, a local text model."""
    folders = [folder for folder in (run.path / "texts", text_model) if folder and folder.is_dir()]
    files = (path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum(parameter.nbytes for parameter in run.network.parameters()) + sum(files)


def _write(
    run: Run,
    out: Path,
    text_vectors: Path | None,
    text_model: Path | None,
    quantizer: Quantizer | None,
    progress: Progress,
) -> Manifest:
    network = run.network.config
    weights = weights_hash(run.network)
    heads = saved_heads(run.path)
    require_fitted_to(heads, run.tokenizer_hash, weights)
    models = scoring_models(heads)
    tokenizer = tokenizer_of(heads, run.vocabulary)
    templates = Templates(network.dim, network.text_dim, tokenizer)

    progress.stage("Writing the model repository", 2 + len(models))
    run.vocabulary.save(_add_model(out, templates.tokenizer(), TOKENIZER))
    progress.advance(1)
    spec = _add_text_embedder(run, out, templates, text_vectors, text_model)
    progress.advance(1)
    for model in models:
        _add_scorer(run, weights, model, tokenizer.feature_names, _add_code(out, model.scorer, SCORER))
        _add_model(out, templates.ensemble(model), ENSEMBLE)
        progress.advance(1)
    costs = {model.ensemble: quantizer(model, out / model.scorer / VERSION_FOLDER) for model in models if quantizer}
    for model in models:
        folders = out / model.scorer / VERSION_FOLDER, out / TEXT_EMBEDDER / VERSION_FOLDER
        _add_config(out, templates.scorer(model, event_vectors_hash(*folders)))

    manifest = Manifest(
        format=manifests.FORMAT,
        run=run.name,
        origin=run.origin,
        variant="embed" if network.text_dim else "bpe",
        tokenizer_hash=run.tokenizer_hash,
        weights_hash=weights,
        text_encoder=spec,
        tasks={model.ensemble: model.tasks for model in models},
        heads=[_entry(saved, model) for model in models for saved in model.heads],
        dim=network.dim,
        vocab_size=network.vocab_size,
        precision="int8" if quantizer else "fp32",
        quantization=costs or None,
        versions={name: metadata.version(name) for name in PACKAGES},
        files={},
        configs=configs_of(out),
        init_from=msgspec.to_builtins(init_from(run.path)),
    )
    write_model_card(run, manifest, heads, out / MODEL_CARD)
    manifest = msgspec.structs.replace(manifest, files=file_hashes(out))
    write_manifest(manifest, out)
    return manifest


def _add_model(out: Path, config: ModelConfig, template: str) -> Path:
    """Write a model's code and config; returns the folder for its artifacts."""
    version = _add_code(out, config.name, template)
    _add_config(out, config)
    return version


def _add_code(out: Path, name: str, template: str) -> Path:
    """Make the folder for a model's artifacts, and copy its code there; an ensemble has none."""
    version, code = out / name / VERSION_FOLDER, template_folder() / template / VERSION_FOLDER / CODE
    version.mkdir(parents=True)
    if code.exists():
        shutil.copyfile(code, version / CODE)
    return version


def _add_config(out: Path, config: ModelConfig) -> None:
    (out / config.name / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")


def _add_text_embedder(
    run: Run, out: Path, templates: Templates, text_vectors: Path | None, text_model: Path | None
) -> dict[str, Any] | None:
    """The encoder's settings; without a text branch there is nothing to embed."""
    if not templates.text_dim:
        if text_vectors or text_model:
            raise ArtifactError(f"{run.path}: a BPE run has no text vectors; leave out --text-vectors and --text-model")
        return None
    # A BPE export imports none of the text branch's code.
    from pragmatiq_builder.export.text_table import write_text_encoder

    folder = _add_model(out, templates.text_embedder(), TEXT_EMBEDDER)
    settings: dict[str, Any] = msgspec.to_builtins(write_text_encoder(run, folder, text_vectors, text_model))
    return settings


def _add_scorer(run: Run, weights: str, model: ScoringModel, feature_names: Sequence[str], folder: Path) -> None:
    network = run.network
    if model.adapted:
        network = merged(network, load_adapters(model.adapted.adapters_file, weights))
    export_graphs(network, folder)
    if model.heads:
        dims = dict.fromkeys(("user_embedding", "event_state"), network.config.dim)
        graph = heads_graph([saved.head for saved in model.heads], dims, feature_names)
        (folder / HEADS).write_bytes(graph.SerializeToString())


def _entry(saved: SavedHead, model: ScoringModel) -> HeadEntry:
    head = saved.head
    fitted = {name: head.info[name] for name in _FITTED if name in head.info}
    return HeadEntry(head.task, head.method, head.kind, model.ensemble, saved.sha256, fitted)
