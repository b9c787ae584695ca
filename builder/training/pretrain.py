"""Pre-training as one call: a data set and settings in, a run folder out."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec

from builder import runs
from builder.progress import Progress, Silent
from builder.training.data import TrainingData, summary
from builder.training.settings import PretrainSettings
from builder.training.trainer import Trainer
from pragmatiq_triton.errors import ConfigError


def pretrain(
    data: TrainingData,
    settings: PretrainSettings,
    runs_root: Path,
    name: str,
    resume: Literal["never", "auto"] = "never",
    progress: Progress | None = None,
) -> Path:
    """Train a network on ``data`` and return its run folder, ``runs_root / name``.

    ``resume="auto"`` goes on from the run's last checkpoint where there is one, with the batches and losses that an
    uninterrupted training would have seen. Raises :class:`ConfigError` where the run exists and ``resume`` is never,
    :class:`ArtifactError` where a resumed run had other data or settings, :class:`DataError` where there is nothing
    to train on or the loss stays non-finite.
    """
    path = runs_root / name
    if path.exists() and resume == "never":
        raise ConfigError(f"run {path} exists; continue it with --resume auto, or choose another --name")
    trainer = Trainer(data, settings, path)
    if runs.has_checkpoint(path):
        trainer.restore()
    else:
        runs.create_run(path, msgspec.to_builtins(settings), _meta(data, settings, name), data.tokenizer_dir)
        data.link_texts(path / "texts")
    trainer.run(progress or Silent())
    return path


def _meta(data: TrainingData, settings: PretrainSettings, name: str) -> dict[str, Any]:
    packages = ("pragmatiq-triton", "torch", "numpy")
    return {
        "name": name,
        "seed": settings.seed,
        "tokenizer_hash": data.tokenizer_hash,
        "data": summary(data),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
    }
