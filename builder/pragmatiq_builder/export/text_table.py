"""The text embedder's artifacts: the table of known strings, and the encoder behind it for new ones."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pragmatiq_builder.dataset.texts import TextStore
from pragmatiq_builder.runs import Run
from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.text_encoders import TextEncoderSpec
from pragmatiq_triton.text_encoders.model_folder import folder_revision
from pragmatiq_triton.text_encoders.table import read_table, save_table
from pragmatiq_triton.text_encoders.trust import ENCODER_FILE
from pragmatiq_triton.tokenizer.config import WITHOUT_MODEL

TABLE = "table"
TEXT_MODEL = "text_model"


def write_text_encoder(
    run: Run, folder: Path, text_vectors: Path | None = None, text_model: Path | None = None
) -> TextEncoderSpec:
    """Write the settings, the table and a local model into ``folder``; returns the settings.

    The table holds the strings seen in training, where the run carries them, and those of ``text_vectors`` (.npz).
    A model that was loaded from a local folder is copied, one from the hub is named by id and commit.

    Raises :class:`ArtifactError` where vectors have another length than the run's, or a model is not the run's.
    """
    text_dim = run.network.config.text_dim
    store = TextStore.load(run.path / "texts") if (run.path / "texts").is_dir() else None
    texts, vectors = _known(store, text_vectors, text_dim)
    save_table(folder / TABLE, texts, vectors)
    fallback = msgspec.structs.replace(run.vocabulary.config.fitted_text_encoder_spec, dim=text_dim)
    source = text_model or (store.text_model if store else None)
    if text_model and fallback.encoder in WITHOUT_MODEL:
        raise ConfigError(
            f"--text-model does nothing with the run's text encoder {fallback.encoder}, which has no model; leave it "
            "out"
        )
    if source is not None:
        fallback = _with_local_model(fallback, source, store, folder)
    spec = TextEncoderSpec(encoder="table", text_model=TABLE, fallback=fallback)
    (folder / ENCODER_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=1))
    return spec


def _known(store: TextStore | None, text_vectors: Path | None, text_dim: int) -> tuple[list[str], Float32]:
    texts = store.texts() if store else []
    vectors = store.vectors(np.arange(len(texts))) if store else np.zeros((0, text_dim), np.float32)
    if text_vectors is None:
        return texts, vectors
    more, more_vectors = read_table(text_vectors)
    if more_vectors.shape[1:] != (text_dim,):
        raise ArtifactError(
            f"{text_vectors}: expected vectors of {text_dim} numbers, got shape {list(more_vectors.shape)}"
        )
    # Training's own vectors win: they are what the network was fitted to.
    seen = set(texts)
    new = [i for i, text in enumerate(more) if text not in seen]
    return texts + [more[i] for i in new], np.concatenate([vectors, _as_float32(more_vectors[new])])


def _as_float32(vectors: npt.NDArray[Any]) -> Float32:
    """What a float64 beyond float32's range becomes is infinite, and refused where the table is written."""
    with np.errstate(over="ignore"):
        return vectors.astype(np.float32)


def _with_local_model(
    fallback: TextEncoderSpec, source: Path, store: TextStore | None, folder: Path
) -> TextEncoderSpec:
    revision = folder_revision(source)
    if store is not None and store.revision.partition(";")[0] != revision:
        raise ArtifactError(
            f"{source}: the run's vectors were computed by revision {store.revision}, this folder is {revision}; "
            "name the folder that `pragmatiq tokenize` used with --text-model"
        )
    shutil.copytree(source, folder / TEXT_MODEL, ignore=shutil.ignore_patterns(".*", "*.bin", "*.pt", "*.onnx", "*.h5"))
    return msgspec.structs.replace(fallback, text_model=TEXT_MODEL, revision=revision)
