"""From a model's name to a folder of files whose content is known."""

import hashlib
import re
from pathlib import Path

from pragmatiq_triton.errors import ArtifactError, ConfigError, MissingDependencyError

# What a transformers model is loaded from. Pickled weights (.bin, .pt) are neither fetched nor read.
_MODEL_SUFFIXES = {".json", ".model", ".py", ".safetensors", ".txt"}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_TIMEOUT_S = 10.0
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def folder_revision(folder: Path) -> str:
    """``sha256:<hex>`` over the weight, config, tokenizer and code files below ``folder``.

    The hash of the lines ``<sha256 of the file>  <path below the folder, with slashes>`` sorted by path. Hidden files
    and folders, documentation and other formats of the weights do not count.

    Raises:
        ArtifactError: There is no such folder, or no model file in it.
    """
    files = {}
    for path in folder.rglob("*"):
        below = path.relative_to(folder)
        if path.suffix in _MODEL_SUFFIXES and not any(part.startswith(".") for part in below.parts) and path.is_file():
            files[below.as_posix()] = path
    if not files:
        raise ArtifactError(f"{folder}: no model files here; expected config.json, *.safetensors and tokenizer files")
    listing = hashlib.sha256()
    for name in sorted(files):
        with files[name].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        listing.update(f"{digest}  {name}\n".encode())
    return f"sha256:{listing.hexdigest()}"


def check_revision(where: Path, expected: str | None, got: str) -> None:
    """Refuse contents other than the pinned ones.

    Raises:
        ConfigError: ``expected`` is not a content hash.
        ArtifactError: ``expected`` is given and is not ``got``.
    """
    if expected is None:
        return
    if not expected.startswith("sha256:"):
        raise ConfigError(f"{where}: text_encoder.revision: expected 'sha256:<hex>' for local files, got {expected!r}")
    if expected != got:
        raise ArtifactError(f"{where}: its content is {got}, but {expected} is pinned; restore the files or pin anew")


def hub_folder(model: str, revision: str | None) -> Path:
    """The local snapshot of a hub model at a commit, fetched if it is not in the cache and the hub may be asked.

    Raises:
        ConfigError: ``model`` is neither a folder nor a hub id, or ``revision`` is not a full commit hash.
        MissingDependencyError: The files are not here and cannot be had.
    """
    if not _HUB_ID.fullmatch(model):
        raise ConfigError(f"text_encoder.text_model: {model!r} is neither an existing folder nor a hub id 'owner/name'")
    if not _COMMIT.fullmatch(revision or ""):
        raise ConfigError(
            f"text_encoder.revision: {model!r} is no folder here, so it is read as a hub id, which needs the full "
            f"40-digit commit hash that pins it; got {revision!r}"
        )
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = [f"*{suffix}" for suffix in sorted(_MODEL_SUFFIXES)]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        # Asks once, where a download would ask for half a minute before it gives up on an unreachable hub.
        HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT_S)
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise MissingDependencyError(
            f"the text model {model!r} is not on this machine and cannot be fetched ({reason}); "
            "copy it here and pass --text-model FOLDER (for the image: make image EXTRAS=nemotron with this TEXT_MODEL)"
        ) from error


def first_line(error: BaseException) -> str:
    """An error's message without the advice that its library appends."""
    return str(error).strip().partition("\n")[0]
