"""Which models a model repository holds."""

import re
from pathlib import Path

from pragmatiq_triton.errors import ArtifactError


def model_names(repository: Path) -> list[str]:
    """Names of the models in ``repository``, sorted; :class:`ArtifactError` where it is no model repository."""
    if not repository.is_dir():
        raise ArtifactError(f"no model repository at {repository}: the folder does not exist")
    folders = sorted(path for path in repository.iterdir() if path.is_dir() and not path.name.startswith("."))
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
