"""The files of an evaluation: JSON, a page and the tested rows, of one name."""

from pathlib import Path
from typing import Any

import msgspec

from pragmatiq_builder.metrics.result import Evaluation
from pragmatiq_triton.errors import ConfigError


def report_of(file: Path) -> Path:
    """The page beside an evaluation's JSON file."""
    return file.with_suffix(".html")


def rows_of(file: Path) -> Path:
    """The tested rows beside an evaluation's JSON file."""
    return file.with_suffix(".parquet")


def replaced_evaluation(file: Path, task: str, provenance: dict[str, Any], overwrite: bool) -> str | None:
    """What is to be said of the evaluation that is there; :class:`ConfigError` where it is of something else."""
    if not file.exists():
        return None
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Evaluation)
    except (OSError, msgspec.DecodeError):
        what = "cannot be read as an evaluation"
    else:
        if (found.task, found.provenance) == (task, provenance):
            return f"{file} was there already, of the same head and labels, and was written again"
        labels, run = (found.provenance.get(name, "unknown") for name in ("labels", "run"))
        what = f"is the evaluation of task {found.task} of run {run} on {labels}, another head, labels or own scores"
    if not overwrite:
        raise ConfigError(f"{file} {what}; --overwrite replaces it, --out FOLDER keeps both")
    return f"replaced: {file}, which {what}"
