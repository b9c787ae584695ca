"""Which models are served, and what they say of themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pragmatiq_triton import manifest
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.manifest import Manifest, file_hash, read_manifest
from pragmatiq_triton.model_config import config_facts
from pragmatiq_triton.model_folders import ensemble_names

TOKENIZER = "tokenizer"
MOST_USERS = 64
"""Users of one request to Triton: the ``max_batch_size`` of every config that export writes."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What callers call: its name, and the names of its scores in their order."""

    name: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Identity:
    """The run behind every answer, the SHA-256 of the manifest that lists its files, and the ensembles by name.

    ``record_limits`` are what the tokenizer takes of one record.
    """

    manifest: Manifest
    manifest_hash: str
    ensembles: Mapping[str, Ensemble]
    record_limits: Mapping[str, int]

    @cached_property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What every answer carries."""
        return (("x-model-run", self.manifest.run), ("x-model-hash", self.manifest_hash))

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The same as parameters of an answer in the KServe protocol."""
        return {"model_run": self.manifest.run, "model_hash": self.manifest_hash}


def read_identity(repository: Path, served: Path | None = None) -> Identity:
    """Read what ``repository`` says of itself; the limits in force are those of ``served``, which Triton sees of it.

    :class:`ArtifactError` where the repository says nothing.
    """
    names = ensemble_names(repository)
    if not names:
        raise ArtifactError(f"{repository} holds no ensemble: expected what pragmatiq export wrote")
    found = read_manifest(repository)
    ensembles = {name: Ensemble(name, tuple(found.tasks.get(name, ()))) for name in names}
    limits = _record_limits((served or repository) / TOKENIZER / "config.pbtxt")
    return Identity(found, file_hash(repository / manifest.FILE), ensembles, limits)


def _record_limits(config: Path) -> dict[str, int]:
    if not config.exists():
        return {}
    settings = config_facts(config.read_text(encoding="utf-8")).settings
    return {name: int(value) for name, value in settings.items() if name.startswith("max_") and value.isdecimal()}
