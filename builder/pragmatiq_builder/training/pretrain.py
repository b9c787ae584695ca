"""Pre-training as one call: a data set and settings in, a run folder out."""

import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec

from pragmatiq_builder import runs
from pragmatiq_builder.lineage import InitFrom, in_words
from pragmatiq_builder.locking import FolderLock
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.training.data import TrainingData, summary
from pragmatiq_builder.training.settings import PretrainSettings
from pragmatiq_builder.training.starting import load_start, require_same_start, started_from
from pragmatiq_builder.training.trainer import Trainer
from pragmatiq_builder.writing import write_errors
from pragmatiq_triton.errors import ArtifactError, ConfigError

_NAME = re.compile(r"[^./\0][^/\0]*")


def pretrain(
    data: TrainingData,
    settings: PretrainSettings,
    runs_root: Path,
    name: str,
    resume: Literal["never", "auto"] = "never",
    progress: Progress | None = None,
    *,
    init_from: Path | None = None,
) -> Path:
    """Train a network on ``data`` and return its run folder, ``runs_root / name``.

    ``resume="auto"`` goes on from the run's last checkpoint where there is one, with the batches and losses that an
    uninterrupted training would have seen. Ctrl-C, SIGTERM and SIGHUP save a checkpoint first.

    ``init_from``: a run, ours or upstream's, with whose weights this one begins; its optimizers and its schedule begin
    anew. The tokenizer and the shape of the network have to be the same.

    Raises :class:`ConfigError` where the run exists and ``resume`` is never, the name is no folder's, a setting does
    nothing or ``init_from`` does not fit, :class:`ArtifactError` where a resumed run had other data, settings or
    beginning or is not ours, :class:`DataError` where there is nothing to train on or the loss stays non-finite, and
    :class:`OutputError` where another process trains the run or it cannot be written.
    """
    progress = progress or Silent()
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--name {name!r}: expected the name of a folder below {runs_root}, without '/' and with no '.' "
            "in front; another place is named by --runs-root"
        )
    if not data.text_dim and settings.text_loss_weight != PretrainSettings().text_loss_weight:
        raise ConfigError(
            f"text_loss_weight: {settings.text_loss_weight} does nothing with a BPE data set, which has no text "
            "vectors to reconstruct; leave it out"
        )
    path = runs_root / name
    _require_free(path, resume)
    trainer = Trainer(data, settings, path)
    start = load_start(init_from, data, trainer.model.network.config) if init_from else None
    began = started_from(start) if start else None
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        with FolderLock.of(path, "run", path):
            # Another process may have begun it while this one read its data.
            if resume == "never" and any(path.iterdir()):
                _require_free(path, resume)
            if runs.is_run(path):
                require_same_start(path, began)
            if runs.has_checkpoint(path):
                trainer.restore()
                progress.say(f"{path}: goes on after step {trainer.step} of {settings.max_steps}")
            else:
                if runs.is_run(path):
                    progress.say(f"{path}: there is no checkpoint to go on from; training begins at the first step")
                meta = _meta(data, settings, name, began)
                runs.create_run(path, msgspec.to_builtins(settings), meta, data.tokenizer_dir)
                if start and began:
                    trainer.start_from(start)
                    progress.say(_begun(path, began, settings))
                data.link_texts(path / "texts")
                data.copy_fields(path)
            trainer.run(progress)
    return path


def _require_free(path: Path, resume: Literal["never", "auto"]) -> None:
    """Raise where ``path`` is taken: by a run that is not to go on, by upstream's, or by something else."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file, expected a folder for the run; choose another --name")
    if not path.exists() or not any(path.iterdir()):
        return
    if not runs.is_run(path):
        raise ConfigError(f"{path} exists and is no run; choose another --name")
    if runs.is_upstream(path):
        raise ArtifactError(
            f"{path} is a run of the upstream toolkit, which does not go on here; choose another --name"
        )
    if resume == "never":
        raise ConfigError(f"run {path} exists; continue it with --resume auto, or choose another --name")


def _begun(path: Path, began: InitFrom, settings: PretrainSettings) -> str:
    line = (
        f"{path}: begins with the weights of {in_words(began)}; optimizer and schedule are new: "
        f"{settings.warmup_steps} steps of warm-up, then a cosine to 0 at step {settings.max_steps}"
    )
    if not settings.held_out:
        return line
    return (
        f"{line}; val_* at step 0 says what the older weights are worth on these data; they may have been trained on "
        "users that are held out here, so val_* flatters"
    )


def _meta(data: TrainingData, settings: PretrainSettings, name: str, began: InitFrom | None) -> dict[str, Any]:
    packages = ("pragmatiq-triton", "torch", "numpy")
    return {
        "name": name,
        "seed": settings.seed,
        "tokenizer_hash": data.tokenizer_hash,
        "init_from": msgspec.to_builtins(began),
        "data": summary(data),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
    }
