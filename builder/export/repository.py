"""Assembling a Triton model repository: templates, tokenizer, graphs, table of text vectors and manifest."""

import hashlib
import json
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from builder.export.configs import ENSEMBLE, TEXT_EMBEDDER, model_names, template_folder, write_config
from builder.export.graphs import export_graphs
from builder.progress import Progress, Silent
from builder.runs import Run
from pragmatiq_triton.errors import ArtifactError

MANIFEST = "manifest.json"
VERSION_FOLDER = "1"


class Manifest(msgspec.Struct, frozen=True):
    """What a repository was made of; ``files`` maps each artifact's path in the repository to its SHA-256."""

    format: int
    run: str
    origin: str
    variant: str
    tokenizer_hash: str
    weights_hash: str
    text_encoder: dict[str, Any] | None
    tasks: list[str]
    dim: int
    vocab_size: int
    versions: dict[str, str]
    files: dict[str, str]


def export_repository(
    run: Run,
    out: Path,
    *,
    text_vectors: Path | None = None,
    text_model: Path | None = None,
    progress: Progress = Silent(),
) -> Manifest:
    """Write the run as a complete model repository at ``out``; an older one there is replaced as a whole.

    ``text_vectors``: an .npz of further strings and their vectors for the table. ``text_model``: the local folder of
    the frozen model, copied into the repository.

    Raises :class:`ArtifactError` where ``out`` holds something that is no repository, or the text vectors do not fit.
    """
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise ArtifactError(f"{out}: expected an empty folder or a model repository to replace; choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        manifest = _write(run, staging, text_vectors, text_model, progress)
        staging.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        staging.replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def read_manifest(repository: Path) -> Manifest:
    """Read a repository's manifest; :class:`ArtifactError` where there is none."""
    try:
        return msgspec.json.decode((repository / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise ArtifactError(
            f"{repository}: expected a model repository that `pragmatiq export` wrote: {error}"
        ) from None


def altered_files(repository: Path) -> list[str]:
    """Paths of artifacts that are missing or no longer what the manifest says."""
    files = read_manifest(repository).files
    return [
        name
        for name, digest in files.items()
        if not (repository / name).is_file() or _sha256(repository / name) != digest
    ]


def _write(run: Run, out: Path, text_vectors: Path | None, text_model: Path | None, progress: Progress) -> Manifest:
    config = run.network.config
    models = model_names(config.text_dim)
    progress.stage("Writing the model repository", len(models) + 1)
    for model in models:
        version = out / model / VERSION_FOLDER
        version.mkdir(parents=True)
        write_config(model, out / model, config.dim, config.text_dim)
        if model != ENSEMBLE:
            shutil.copyfile(template_folder() / model / VERSION_FOLDER / "model.py", version / "model.py")
        progress.advance(1)
    run.vocabulary.save(out / "tokenizer" / VERSION_FOLDER)
    export_graphs(run.network, out / "scorer" / VERSION_FOLDER)
    spec = None
    if TEXT_EMBEDDER in models:
        # A BPE export imports none of the text branch's code.
        from builder.export.text_table import write_text_encoder

        spec = write_text_encoder(run, out / TEXT_EMBEDDER / VERSION_FOLDER, text_vectors, text_model)
    elif text_vectors or text_model:
        raise ArtifactError(f"{run.path}: a BPE run has no text vectors; leave out --text-vectors and --text-model")
    progress.advance(1)
    manifest = Manifest(
        format=1,
        run=run.name,
        origin=run.origin,
        variant="embed" if config.text_dim else "bpe",
        tokenizer_hash=run.tokenizer_hash,
        weights_hash=weights_hash(run),
        text_encoder=msgspec.to_builtins(spec) if spec else None,
        tasks=[],
        dim=config.dim,
        vocab_size=config.vocab_size,
        versions={name: metadata.version(name) for name in ("pragmatiq-triton", "torch", "onnx", "onnxscript")},
        files={str(path.relative_to(out)): _sha256(path) for path in sorted(out.rglob("*")) if path.is_file()},
    )
    text = json.dumps(msgspec.to_builtins(manifest), indent=1, ensure_ascii=False)
    (out / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def weights_hash(run: Run) -> str:
    """SHA-256 over the network's parameters: their names, shapes and float32 bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(run.network.state_dict().items()):
        digest.update(f"{name}{list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
