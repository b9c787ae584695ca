"""The folder in which a server keeps what outlives it: the fingerprints' secret and snapshots of vectors."""

import os
from pathlib import Path

from pragmatiq_triton.errors import ConfigError

CACHE_FOLDER_VARIABLE = "PRAGMATIQ_CACHE_FOLDER"


def cache_folder() -> Path | None:
    """The folder that the environment variable names, created if missing; None where it is unset or empty.

    Raises :class:`ConfigError` where it cannot be created.
    """
    name = os.environ.get(CACHE_FOLDER_VARIABLE, "")
    return make_cache_folder(Path(name), CACHE_FOLDER_VARIABLE) if name else None


def make_cache_folder(folder: Path, named_by: str) -> Path:
    """``folder``, created if missing, for its owner alone; :class:`ConfigError`, with who named it, where it cannot."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{named_by}: expected a folder that can be created and written, got {str(folder)!r}: {error}"
        ) from None
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"{named_by}: expected a folder that this account can read and write, got {str(folder)!r}")
    return folder
