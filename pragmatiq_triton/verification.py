"""Whether a model repository is what its manifest says, before it is served."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pragmatiq_triton.cpus import usable_cpus
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.listing import listed
from pragmatiq_triton.manifest import FILE, Manifest, read_manifest
from pragmatiq_triton.model_config import config_facts
from pragmatiq_triton.model_folders import passed_over
from pragmatiq_triton.repository_view import CONFIG

_CHUNK = 1 << 20
_SAY_SECONDS = 5.0
_NAMED = 10
_VERSION = "1"
_COMPILED = "__pycache__"


class Verified(NamedTuple):
    """A repository that may be served: its size, and the seconds it took."""

    files: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return f"verified: {self.files} files, {self.bytes / 1e6:,.0f} MB, in {self.seconds:.1f} s"


def verify(
    repository: Path,
    skip_by: str,
    *,
    say: Callable[[str], None] = lambda line: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Verified | None:
    """Hold every file of ``repository`` against the hash in its manifest; None soon after ``stopping`` answers true.

    ``skip_by`` says in the error how to serve without this check; ``say`` is given how far it is every five seconds.
    This finds mistakes, not attacks: whoever can write files can write the manifest as well.

    Raises :class:`ArtifactError`, which names the files that are changed, missing or not listed.
    """
    started = time.monotonic()
    way_out = f"export the run again, or serve it as it is with {skip_by}"
    try:
        manifest = read_manifest(repository)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; without a manifest nothing can be verified: {way_out}") from None
    reading = _Reading(stopping)
    present = [name for name in manifest.files if (repository / name).is_file()]
    total = sum((repository / name).stat().st_size for name in present)
    with ThreadPoolExecutor(usable_cpus(), thread_name_prefix="verify") as pool:
        hashes = {name: pool.submit(reading.hash, repository / name) for name in present}
        said = started
        while not all(each.done() for each in hashes.values()):
            if stopping():
                pool.shutdown(cancel_futures=True)
                return None
            if time.monotonic() - said >= _SAY_SECONDS:
                said = time.monotonic()
                say(f"verifying the repository: {reading.bytes / 1e6:,.0f} of {total / 1e6:,.0f} MB")
            time.sleep(0.01)
        found = {name: future.result() for name, future in hashes.items()}
    changed = [name for name in present if found[name] != manifest.files[name]]
    problems = {
        "changed": changed,
        "missing": [*(name for name in manifest.files if name not in found), *_missing_folders(repository, manifest)],
        "not listed": list(_others(repository, manifest)),
    }
    if any(problems.values()):
        told = "; ".join(f"{kind}: {listed(names, _NAMED)}" for kind, names in problems.items() if names)
        hint = _hint(repository, manifest, changed)
        raise ArtifactError(f"{repository}: not what its {FILE} says. {told}.{hint} Nothing was served: {way_out}")
    return Verified(len(found), total, time.monotonic() - started)


class _Reading:
    """Hashes files in threads and counts what was read."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self.bytes = 0

    def hash(self, path: Path) -> str:
        """SHA-256; something else where it is to stop or the file cannot be read."""
        digest = hashlib.sha256()
        try:
            with path.open("rb", buffering=0) as file:
                while (chunk := file.read(_CHUNK)) and not self._stopping():
                    digest.update(chunk)
                    self.bytes += len(chunk)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
        return digest.hexdigest()


def _hint(repository: Path, manifest: Manifest, changed: list[str]) -> str:
    """What of changed configs is an operator's setting, as ``settings.yaml`` has it."""
    parts = []
    for name in changed:
        if name not in manifest.configs:
            continue
        try:
            found = config_facts((repository / name).read_text(encoding="utf-8"))
        except ValueError:
            continue
        exported = manifest.configs[name].settings
        laid = [f"{key}: {value}" for key, value in found.settings.items() if exported.get(key) != value]
        if laid:
            parts.append(f"{Path(name).parent}: {{{', '.join(laid)}}}")
    return f" Settings stay out of it, in a settings.yaml: {'; '.join(parts)}." if parts else ""


def _others(repository: Path, manifest: Manifest) -> Iterator[str]:
    """What the manifest does not list: files, and with a slash behind them folders in which there is nothing.

    Not the manifest itself, a volume's `lost+found`, and what Python compiles beside a model's code; elsewhere
    `__pycache__` is a folder like any other, which Triton would take for a model or a version.
    """
    written = {FILE, *manifest.files}
    expected = {f"{model}/{_VERSION}" for model in _models(manifest)} | {
        str(folder) for name in manifest.files for folder in Path(name).parents
    }

    def refuse(error: OSError) -> None:
        raise ArtifactError(f"{error.filename}: cannot be read: {error.strerror}") from error

    for folder, subfolders, files in os.walk(repository, onerror=refuse):
        inside = Path(folder).relative_to(repository)
        subfolders.sort()
        if folder == str(repository):
            subfolders[:] = [name for name in subfolders if name not in passed_over(repository)]
        links = [name for name in subfolders if Path(folder, name).is_symlink()]
        is_compiled = inside.name == _COMPILED and str(inside.parent) in expected and len(inside.parts) > 2
        for name in sorted([*files, *links]):
            path = str(inside / name)
            if is_compiled and name.endswith(".pyc"):
                continue
            if path not in written and not any(other.startswith(f"{path}/") for other in written):
                yield path
        if not subfolders and not files and not is_compiled and str(inside) not in expected:
            yield f"{inside}/"


def _models(manifest: Manifest) -> list[str]:
    """The models whose configs the manifest lists."""
    return [name.removesuffix(f"/{CONFIG}") for name in manifest.files if name.split("/")[1:] == [CONFIG]]


def _missing_folders(repository: Path, manifest: Manifest) -> list[str]:
    """Version folders that are not there: of an ensemble it is empty, and stores of objects lose empty folders."""
    return [f"{model}/{_VERSION}/" for model in _models(manifest) if not (repository / model / _VERSION).is_dir()]
