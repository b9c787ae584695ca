"""The last fit of a head that was evaluated: to all rows, with the numbers of the evaluated one beside it."""

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.calibration import fit_calibrator
from pragmatiq_builder.finetune.encoding import check_same_tokenizer, users_of
from pragmatiq_builder.finetune.finetune import INPUTS_FILE, head_folder
from pragmatiq_builder.finetune.fitted import labels_for, settings_of
from pragmatiq_builder.finetune.fitting import score
from pragmatiq_builder.finetune.methods import Fit, FitCase, fit_task
from pragmatiq_builder.finetune.own_features import require_given
from pragmatiq_builder.finetune.splits import folds
from pragmatiq_builder.heads import Head, load_head, save_head
from pragmatiq_builder.heads.lora import save_adapters
from pragmatiq_builder.heads.saved import EVALUATION_FILE, SavedHead
from pragmatiq_builder.metrics import Split as Counts
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw.parts import table_hash
from pragmatiq_builder.replacing import replaced_folder
from pragmatiq_builder.runs import Run, weights_hash
from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, ConfigError

CALIBRATION_FOLDS = 5
"""Each row calibrates by the score of a fit to the other folds' users."""


def finetune_final(
    run: Run,
    data: TokenizedDataset,
    label_file: Path,
    task: str,
    progress: Progress = Silent(),
    *,
    features_file: Path | None = None,
) -> Head:
    """Fit the head of ``task`` again, to all rows of ``label_file``, and save it in the place of the evaluated one.

    Method and settings are the evaluated head's, and labels and ``features_file``, if it has one, those that it was
    fitted to. It is calibrated on the scores that fits to four fifths of the users give to the last fifth. The
    evaluation stays, and is of the head before.

    Raises :class:`ConfigError` for a head that is not evaluated or is final already and for other labels, and
    :class:`ArtifactError` without a head of this run.
    """
    check_same_tokenizer(run, data)
    folder = head_folder(run, task)
    if not (folder / "head.json").is_file():
        raise ArtifactError(
            f"{folder}: there is no head; run `pragmatiq finetune ... --task {task}` and evaluate it first"
        )
    evaluated = SavedHead(load_head(folder), folder)
    _require_ready(evaluated, run, label_file, features_file)
    settings, rows = settings_of(evaluated), labels_for(evaluated.head, label_file, data, features_file)
    users = users_of(data, rows)
    final = {
        "rows": msgspec.to_builtins(Counts.of(rows.labels, users)),
        "calibration_folds": CALIBRATION_FOLDS,
        "evaluated_head_sha256": evaluated.sha256,
    }
    with replaced_folder(folder, "head", lambda _: None, progress=progress) as new:
        for file in (*folder.glob("evaluation*"), *folder.glob(INPUTS_FILE)):
            shutil.copy2(file, new / file.name)
        case = FitCase(run, data, rows, task, settings, progress)
        fit = fit_task(case, np.arange(len(rows.labels)), kept=new / INPUTS_FILE)
        scores = _scores_of_others(case, fit)
        calibrator = fit_calibrator(scores, rows.labels, users, settings.seed)
        info = {**evaluated.head.info, **fit.head.info, "calibrator": type(calibrator).__name__.lower()}
        info |= {"final": final, "fitted_until_ts": int(rows.at.max())}
        head = replace(fit.head, calibrator=calibrator, info=info)
        save_head(head, new)
        if fit.adapters is not None:
            save_adapters(fit.adapters, SavedHead(head, new).adapters_file, weights_hash(run.network))
    progress.say(
        f"{folder}: now fitted to all {len(rows.labels):,} rows; {EVALUATION_FILE} stays, and is of the head before"
    )
    return head


def _require_ready(evaluated: SavedHead, run: Run, label_file: Path, features_file: Path | None) -> None:
    head, folder = evaluated.head, evaluated.folder
    if "final" in head.info:
        raise ConfigError(
            f"{folder}: is fitted to all {head.info['final']['rows']['rows']:,} rows already; for other labels "
            "fine-tune with --overwrite, evaluate, and give --final again"
        )
    if not (folder / EVALUATION_FILE).is_file():
        raise ConfigError(
            f"{folder}: is not evaluated, and a final head cannot be: no row is left that it has not seen; run "
            f"`pragmatiq evaluate ... --task {head.task}` first"
        )
    if head.info.get("weights_hash") != weights_hash(run.network):
        raise ArtifactError(f"{folder}: the head was fitted on other weights than {run.path} holds; fine-tune again")
    if head.info.get("labels_sha256") != table_hash(label_file):
        raise ConfigError(
            f"{label_file}: is another file than {head.info.get('label_file', 'the one')} that the head was fitted "
            "to, so its evaluation would say nothing of the final head; give that file, or fine-tune and evaluate with "
            "this one"
        )
    fitted_with = head.info.get("own_features")
    require_given(fitted_with, features_file, head.task)
    if fitted_with and features_file and table_hash(features_file) != fitted_with["sha256"]:
        raise ConfigError(
            f"{features_file}: is another file than {fitted_with['file']} that the head was fitted with; give "
            "that file, or fine-tune and evaluate with this one"
        )


def _scores_of_others(case: FitCase, whole: Fit) -> Float32:
    """Each row's logit by a fit to other users, float32 [n]."""
    fold = folds(whole.inputs.users.tolist(), CALIBRATION_FOLDS, case.settings.seed)
    scores = np.zeros(len(case.rows.labels), np.float32)
    for number in range(CALIBRATION_FOLDS):
        train, held_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        # A frozen network reads every row as it did for the whole fit.
        fit = fit_task(case, train, inputs=whole.inputs)
        scores[held_out] = score(fit.head, fit.inputs.rows(held_out), calibrate=False)
    return scores
