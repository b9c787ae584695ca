"""``pragmatiq finetune``: a head for one task, fitted on a trained run and saved beside it.

``runs/<name>/heads/<task>/`` holds ``head.json``, ``head.npz``, of a LoRA task ``lora.safetensors``, and
``inputs.npz``: what the network made of the labelled rows, for evaluation.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.encoding import check_same_tokenizer, users_of
from pragmatiq_builder.finetune.fitting import calibrated
from pragmatiq_builder.finetune.inputs import LabelledInputs
from pragmatiq_builder.finetune.labels import LabelledRows, read_labels
from pragmatiq_builder.finetune.methods import FitCase, fit_task
from pragmatiq_builder.finetune.own_features import provenance, with_own_features
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.finetune.splits import Split, split_rows
from pragmatiq_builder.heads import Head, load_head, save_head
from pragmatiq_builder.heads.head import check_task
from pragmatiq_builder.heads.lora import save_adapters
from pragmatiq_builder.heads.saved import HEADS_FOLDER, SavedHead
from pragmatiq_builder.metrics import Split as Counts
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw.parts import table_hash
from pragmatiq_builder.replacing import replaced_folder
from pragmatiq_builder.runs import Run, weights_hash
from pragmatiq_triton.errors import ArtifactError, ConfigError

INPUTS_FILE = "inputs.npz"


def head_folder(run: Run, task: str) -> Path:
    """Where the head of ``task`` lies."""
    return run.path / HEADS_FOLDER / task


def finetune(
    run: Run,
    data: TokenizedDataset,
    label_file: Path,
    task: str,
    settings: FinetuneSettings = FinetuneSettings(),
    progress: Progress = Silent(),
    *,
    features_file: Path | None = None,
    overwrite: bool = False,
) -> Head:
    """Fit the head of ``task`` on the training users of ``label_file``, calibrate it on others, and save it.

    ``features_file``: a parquet file with features of the bank's own for a ``hybrid`` head, by ``user_id`` and the
    labels' moment. With ``overwrite`` an older head of the task is replaced as a whole, with its evaluations. Raises
    :class:`ConfigError` where there is one and ``overwrite`` is false, :class:`DataError` for labels that cannot be
    learnt from, :class:`ArtifactError` for a data set of another tokenizer, and :class:`OutputError` where another
    process fits the task or the head cannot be written.
    """
    check_task(task)
    check_same_tokenizer(run, data)
    settings.require_reads(features_file)
    rows = read_labels(label_file, data)
    if features_file:
        rows = with_own_features(rows, features_file, data)
    split = split_rows(users_of(data, rows).tolist(), rows, settings.split)
    folder = head_folder(run, task)

    def require_free(place: Path) -> None:
        if any(place.iterdir()) and not overwrite:
            raise ConfigError(f"{place}: {_described(place, task)}; --overwrite replaces it, another --task keeps both")

    replaced = _described(folder, task) if folder.is_dir() and any(folder.iterdir()) else None
    with replaced_folder(folder, "head", require_free, progress=progress) as new:
        case = FitCase(run, data, rows, task, settings, progress)
        fit = fit_task(case, split.train, kept=new / INPUTS_FILE)
        head = calibrated(fit.head, fit.inputs.rows(split.calibration), settings.seed)
        head = replace(head, info={**head.info, **_provenance(run, label_file, rows, fit.inputs, split, settings)})
        head = replace(head, info={**head.info, **provenance(rows, features_file)})
        save_head(head, new)
        if fit.adapters is not None:
            save_adapters(fit.adapters, SavedHead(head, new).adapters_file, weights_hash(run.network))
    if replaced:
        progress.say(f"replaced: {replaced}")
    return head


def _described(folder: Path, task: str) -> str:
    """The head that is there, in words."""
    try:
        head = load_head(folder)
    except ArtifactError as error:
        return f"there is a head of {task} already, which cannot be read ({error})"
    files = ", ".join(file.name for file in SavedHead(head, folder).evaluation_files)
    fitted_to = f", fitted to {head.info['label_file']}" if head.info.get("label_file") else ""
    return f"the head of {task} ({head.method}{fitted_to}){f' with {files}' if files else ', not evaluated'}"


def date_of(ts: int | None) -> str | None:
    """A moment in microseconds as ISO 8601, UTC."""
    return None if ts is None else (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ts)).isoformat()


def _provenance(
    run: Run,
    label_file: Path,
    rows: LabelledRows,
    inputs: LabelledInputs,
    split: Split,
    settings: FinetuneSettings,
) -> dict[str, Any]:
    counts = {name: Counts.of(rows.labels[part], inputs.users[part]) for name, part in split.parts.items()}
    return {
        "rows": msgspec.to_builtins(counts),
        "cutoff": date_of(split.cutoff),
        "cutoff_ts": split.cutoff,
        "left_out": split.left_out,
        "split_by": split.by,
        "split": split.in_words(),
        "fitted_until_ts": int(rows.at[np.concatenate([split.train, split.calibration])].max()),
        "skipped": rows.skipped,
        "cautions": rows.cautions,
        "label_file": label_file.name,
        "labels_sha256": table_hash(label_file),
        "tokenizer_hash": run.tokenizer_hash,
        "weights_hash": weights_hash(run.network),
        "settings": msgspec.to_builtins(settings),
    }
