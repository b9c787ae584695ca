"""What a run's files say of it, read without its weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from pragmatiq_builder.heads.saved import SavedHead, saved_heads
from pragmatiq_builder.lineage import in_words, init_from
from pragmatiq_builder.metrics import Estimate
from pragmatiq_builder.metrics.result import read_evaluation
from pragmatiq_builder.metrics_file import NAME, MetricsFile
from pragmatiq_triton.errors import ArtifactError

SETTINGS_FILE, META_FILE = "run.yaml", "meta.json"
SHOWN = ("roc_auc", "pr_auc")
"""Metrics of an evaluation that a list of runs shows."""


class HeadFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A task's head. ``settings``: what fine-tuning was told, flat; ``metrics`` of its evaluation on the held-out part
    and ``test_rows`` of that, None if there is none; ``final``: it was fitted to all rows afterwards.
    """

    task: str
    method: str
    settings: dict[str, Any]
    labels: str | None
    final: bool
    test_rows: int | None
    metrics: dict[str, Estimate] | None


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A run. ``settings``: what pre-training was told, and what the run says of its data, flat, by name;
    ``metrics``: the lines of ``metrics.jsonl``.
    """

    name: str
    path: str
    origin: Literal["pragmatiq-triton", "upstream"]
    checkpoint: bool
    init_from: str | None
    tokenizer_hash: str
    settings: dict[str, Any]
    metrics: list[dict[str, Any]]
    heads: list[HeadFacts]

    def newest(self, metric: str) -> float | None:
        """The last value of a metric of training, None if it was never told."""
        return next((record[metric] for record in reversed(self.metrics) if metric in record), None)

    @property
    def steps(self) -> int:
        return int(self.metrics[-1]["step"]) if self.metrics else 0


def runs_in(root: Path) -> list[Path]:
    """The folders of runs in ``root``, by name; :class:`ArtifactError` where ``root`` is no folder."""
    if not root.is_dir():
        raise ArtifactError(f"{root}: expected a folder of runs; `pragmatiq pretrain` makes it, or name another")
    return sorted(path for path in root.iterdir() if not path.name.startswith(".") and _is_run(path))


def facts_of(path: Path) -> RunFacts:
    """Read the run at ``path``, ours or upstream's; :class:`ArtifactError` where it is none or a file is damaged."""
    if not _is_run(path):
        raise ArtifactError(f"{path}: expected a run, a folder with checkpoints or {SETTINGS_FILE}")
    checkpoints = path / "checkpoints"
    is_upstream = (checkpoints / "last.pt").exists()
    settings = _read(path / SETTINGS_FILE, yaml.safe_load)
    meta = _read(path / META_FILE, json.loads)
    began = init_from(path)
    try:
        tokenizer_hash = (path / "tokenizer" / "tokenizer.hash").read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path / 'tokenizer'}: cannot be read: {error}; restore the run from a backup") from None
    about: dict[str, Any] = {name: meta[name] for name in ("data", "versions") if name in meta}
    return RunFacts(
        name=path.resolve().name,
        path=str(path),
        origin="upstream" if is_upstream else "pragmatiq-triton",
        checkpoint=is_upstream or any((checkpoints / name).exists() for name in ("last", ".last.old", "previous")),
        init_from=in_words(began) if began else None,
        tokenizer_hash=tokenizer_hash,
        settings={name: value for name, value in flat({**settings, **about}).items() if name != "data.tokenizer_hash"},
        metrics=MetricsFile(path / NAME).records(),
        heads=[_head(saved) for saved in saved_heads(path)],
    )


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by names such as ``split.test_share``."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _is_run(path: Path) -> bool:
    """As :func:`pragmatiq_builder.runs.is_run`, without torch, which takes seconds to import."""
    return (path / "checkpoints").exists() or (path / SETTINGS_FILE).exists()


def _read(path: Path, parse: Any) -> dict[str, Any]:
    """A file of settings; nothing where there is none, as in some of upstream's runs."""
    if not path.exists():
        return {}
    try:
        found = parse(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"holds a {type(found).__name__}, expected names with values")
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{path}: cannot be read: {reason}; restore the run from a backup") from None
    return found


def _head(saved: SavedHead) -> HeadFacts:
    head = saved.head
    held_out = [file for file in saved.evaluation_files if file.name == "evaluation.json"]
    evaluation = read_evaluation(held_out[0]) if held_out else None
    settings = head.info.get("settings", {})
    return HeadFacts(
        task=head.task,
        method=head.method,
        settings=flat(settings) if isinstance(settings, Mapping) else {},
        labels=head.info.get("label_file"),
        final="final" in head.info,
        test_rows=evaluation.splits["test"].rows if evaluation else None,
        metrics=evaluation.metrics[evaluation.candidate] if evaluation else None,
    )
