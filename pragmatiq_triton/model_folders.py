"""Which models a model repository holds."""

import re
from pathlib import Path

from pragmatiq_triton.errors import ArtifactError

LOST_AND_FOUND = "lost+found"
"""What mkfs puts into the root of an ext4 volume, and root alone may read: no model, and no reason to refuse one."""


def passed_over(repository: Path) -> list[str]:
    """Folders of ``repository`` that are known to be no models; they are not served."""
    return [LOST_AND_FOUND] if (repository / LOST_AND_FOUND).is_dir() else []


def what_else(folder: Path) -> str:
    """What ``folder`` is, if it is no model repository but another artifact of ours, and what to do; else empty."""
    if any((folder / name).exists() for name in ("run.yaml", "checkpoints")):
        return f"this is a run; `pragmatiq export {folder} --out REPOSITORY` makes a repository of it"
    if (folder / "tokenizer").is_dir() and (folder / "meta.json").exists():
        return "this is a tokenized data set; `pragmatiq pretrain` makes a run of it, and `export` a repository"
    if (folder / "events.parquet").exists() or (folder / "events").is_dir():
        return (
            "this is raw data, which `pragmatiq validate` describes; the way to a repository leads over "
            "`pragmatiq tokenize`, `pretrain` and `export`"
        )
    return ""


def model_names(repository: Path) -> list[str]:
    """Names of the models in ``repository``, sorted; :class:`ArtifactError` where it is no model repository."""
    if not repository.is_dir():
        raise ArtifactError(f"no model repository at {repository}: the folder does not exist")
    if not (repository / "manifest.json").exists() and (found_instead := what_else(repository)):
        raise ArtifactError(f"{repository}: expected a model repository that `pragmatiq export` wrote: {found_instead}")
    others = passed_over(repository)
    found = (path for path in repository.iterdir() if path.name not in others and not path.name.startswith("."))
    folders = sorted(path for path in found if path.is_dir())
    if not folders:
        raise ArtifactError(f"{repository} holds no models: expected one folder per model, each with a config.pbtxt")
    for folder in folders:
        if not (folder / "config.pbtxt").is_file():
            raise ArtifactError(f"{folder} has no config.pbtxt: every folder of a model repository has to be a model")
    return [folder.name for folder in folders]


def ensemble_names(repository: Path) -> list[str]:
    """Names of the ensembles among them: what callers call."""
    return [name for name in model_names(repository) if _ENSEMBLE.search(_config(repository / name))]


def _config(folder: Path) -> str:
    return (folder / "config.pbtxt").read_text(encoding="utf-8")


_ENSEMBLE = re.compile(r'^platform:\s*"ensemble"', re.MULTILINE)
