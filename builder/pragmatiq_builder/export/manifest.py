"""Writing what a model repository says of itself; :mod:`pragmatiq_triton.manifest` reads it."""

import json
from pathlib import Path

import msgspec

from pragmatiq_triton.manifest import (
    FILE,
    FORMAT,
    Change,
    Cosine,
    HeadEntry,
    Manifest,
    Quantization,
    TaskCost,
    altered_files,
    file_hash,
    read_manifest,
)
from pragmatiq_triton.model_config import ConfigFacts, config_facts

__all__ = [
    "FILE",
    "FORMAT",
    "Change",
    "Cosine",
    "HeadEntry",
    "Manifest",
    "Quantization",
    "TaskCost",
    "altered_files",
    "configs_of",
    "file_hash",
    "file_hashes",
    "read_manifest",
    "write_manifest",
]


def write_manifest(manifest: Manifest, repository: Path) -> None:
    """Write ``manifest`` into ``repository``."""
    text = json.dumps(msgspec.to_builtins(manifest), indent=1, ensure_ascii=False)
    (repository / FILE).write_text(text, encoding="utf-8")


def file_hashes(repository: Path) -> dict[str, str]:
    """The SHA-256 of every file below ``repository``, by its path there."""
    files = (path for path in sorted(repository.rglob("*")) if path.is_file())
    return {str(path.relative_to(repository)): file_hash(path) for path in files}


def configs_of(repository: Path) -> dict[str, ConfigFacts]:
    """What of each model's config an operator may change and what not, by its path in ``repository``."""
    return {
        str(path.relative_to(repository)): config_facts(path.read_text(encoding="utf-8"))
        for path in sorted(repository.glob("*/config.pbtxt"))
    }
