"""The checkout that an image is built from: where it lies, which version and revision it is."""

import subprocess
import tomllib
from pathlib import Path

from pragmatiq_triton.errors import ArtifactError, ConfigError

DOCKERFILE = "docker/Dockerfile"


def find_source(folder: Path | None = None) -> Path:
    """``folder``; without it the checkout that this package was imported from, else the current folder.

    Raises :class:`ConfigError` where that has no docker/Dockerfile: an installed wheel carries none.
    """
    folders = [folder] if folder else [Path(__file__).parents[3], Path.cwd()]
    for candidate in folders:
        if (candidate / DOCKERFILE).is_file():
            return candidate.resolve()
    tried = " or ".join(map(str, dict.fromkeys(folders)))
    raise ConfigError(f"no {DOCKERFILE} in {tried}: an image is built from a checkout; name its folder with --source")


def source_version(source: Path) -> str:
    """The version of the distribution that the checkout makes."""
    path = source / "pyproject.toml"
    try:
        version = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: expected the project's version: {error!r}") from None
    return str(version)


def source_revision(source: Path) -> str:
    """The commit of the checkout, ``-dirty`` behind it if a tracked file differs; ``unknown`` where git cannot say."""
    if not (source / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
