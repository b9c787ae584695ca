"""What a new export may replace, and what is said of it."""

import json
from pathlib import Path
from typing import Any

from pragmatiq_builder.export.manifest import FILE, Manifest, file_hash
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.listing import listed


def require_replaceable(place: Path) -> None:
    """Raise :class:`ArtifactError` unless ``place`` is empty or holds nothing but what an export wrote."""
    if not any(place.iterdir()):
        return
    manifest = _manifest(place)
    if manifest is None:
        raise ArtifactError(
            f"{place}: expected an empty folder or a model repository to replace, with its {FILE}; choose another --out"
        )
    # The server's Python leaves compiled files.
    files = (path for path in place.rglob("*") if not path.is_dir() and path.suffix != ".pyc")
    names = {path.relative_to(place).as_posix() for path in files}
    if foreign := sorted(names - manifest["files"].keys() - {FILE}):
        raise ArtifactError(
            f"{place}: holds {listed(foreign, 5)}, which export did not write and which would be lost; move that away, "
            "or choose another --out"
        )


def what_is_replaced(place: Path, new: Manifest) -> list[str]:
    """Lines for the user: another run's repository, tasks that are gone, configs that were edited."""
    earlier = _manifest(place)
    if earlier is None:
        return []
    lines = []
    if (earlier["run"], earlier["tokenizer_hash"]) != (new.run, new.tokenizer_hash):
        told = [
            f"run {run} (tokenizer {str(of)[:8]})"
            for run, of in ((earlier["run"], earlier["tokenizer_hash"]), (new.run, new.tokenizer_hash))
        ]
        lines.append(f"{place}: the repository of {told[0]} was replaced by that of {told[1]}")
    if lost := sorted(_tasks(earlier.get("tasks")) - _tasks(new.tasks)):
        lines.append(f"{place}: no longer answers {listed(lost, 5)}, which the repository there before did")
    edited = [
        name
        for name, digest in earlier["files"].items()
        if name.endswith("config.pbtxt") and (place / name).is_file() and file_hash(place / name) != digest
    ]
    if edited:
        lines.append(
            f"{place}: {listed(edited, 5)} had been changed by hand; settings belong into a settings.yaml, "
            "which no export replaces"
        )
    return lines


def _tasks(by_model: Any) -> set[str]:
    return {str(task) for tasks in by_model.values() for task in tasks} if isinstance(by_model, dict) else set()


def _manifest(place: Path) -> dict[str, Any] | None:
    """The manifest, of whatever format; None if it is missing or another program's file of that name."""
    try:
        manifest = json.loads((place / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(manifest, dict) and {"format", "run", "tokenizer_hash"} <= manifest.keys()
    return manifest if ours and isinstance(manifest.get("files"), dict) else None
