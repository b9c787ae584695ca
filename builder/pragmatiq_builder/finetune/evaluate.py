"""``pragmatiq evaluate``: a task's head against two baselines on rows that neither has seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.classifiers import Array
from pragmatiq_builder.finetune.encoding import check_same_tokenizer, encode_rows, users_of
from pragmatiq_builder.finetune.finetune import INPUTS_FILE, date_of, head_folder
from pragmatiq_builder.finetune.fitted import (
    fitted_counts,
    labels_for,
    out_of_time,
    require_held_out,
    settings_of,
    split_of,
)
from pragmatiq_builder.finetune.fitting import BASELINES, baseline_inputs, calibrated, fit_baseline, score
from pragmatiq_builder.finetune.inputs import LabelledInputs
from pragmatiq_builder.finetune.labels import LabelledRows
from pragmatiq_builder.finetune.methods import FitCase, fit_task
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.finetune.splits import By, Split, folds
from pragmatiq_builder.heads import Head, load_head
from pragmatiq_builder.heads.lora import load_adapters, merged
from pragmatiq_builder.heads.saved import SavedHead, evaluation_file
from pragmatiq_builder.metrics import Evaluation, evaluate_scores, write_report
from pragmatiq_builder.metrics import Split as Counts
from pragmatiq_builder.metrics.files import replaced_evaluation, report_of, rows_of
from pragmatiq_builder.metrics.rows import OWN, read_own_scores, write_rows
from pragmatiq_builder.network import PragmaNetwork
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw.labels import LabelTime
from pragmatiq_builder.raw.parts import table_hash
from pragmatiq_builder.runs import Run, weights_hash
from pragmatiq_builder.writing import write_errors, write_file
from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.manifest import file_hash

CALIBRATION_SHARE = 0.2
"""Of the users that a fold does not test."""
NO_BASELINES = (
    "There are no baselines: the labels have no earlier rows of both classes to fit them to and to calibrate them on."
)
PROTOCOLS: dict[By, str] = {
    "users": "held-out users",
    "users and dates": "held-out users, later dates",
    "dates": "all users, later dates",
    "labels": "the part that the labels call test",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """The head in ``folder``, fitted to ``run`` with ``settings``, and the labelled rows that are to judge it."""

    run: Run
    data: TokenizedDataset
    rows: LabelledRows
    users: Array
    head: Head
    folder: Path
    settings: FinetuneSettings
    progress: Progress

    @property
    def time(self) -> LabelTime:
        """The labels' column of moments."""
        return "eval_ts" if self.rows.kind == "user" else "ts"


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What ``heads`` (one for each fold) and baselines made of the rows that they were not fitted to.

    ``columns`` [n_test] each: ``labels``, ``users``, ``at``, the probabilities ``candidate`` and ``uncalibrated`` of
    the heads, and those of each of :data:`BASELINES`; ``counts``: what the heads were fitted to and calibrated on.
    """

    heads: list[Head]
    columns: dict[str, Array]
    counts: dict[str, Counts]
    cautions: Sequence[str] = ()


def evaluate(
    run: Run,
    data: TokenizedDataset,
    label_file: Path,
    task: str,
    out: Path | None = None,
    *,
    n_folds: int = 0,
    replicates: int = 1000,
    overwrite: bool = False,
    rows_file: Path | None = None,
    own_scores: Path | None = None,
    test_from: str | None = None,
    features_file: Path | None = None,
    progress: Progress = Silent(),
) -> Evaluation:
    """Evaluate the head of ``task`` on the test part of ``label_file``, as it was split for fine-tuning, or in folds.

    The baselines are fitted to the same rows and calibrated on the same others. ``label_file`` may hold later labels
    than those that the head was fitted to: the users and the date that divide them stay. ``n_folds`` > 0 fits the
    method anew for each fold of users, on all dates. Writes ``evaluation.json``, ``evaluation.html`` and, with each
    tested row's probability by each model, ``evaluation.parquet`` to ``out``, by default the head's folder; of folds
    they are ``evaluation-folds<n>.json`` and so on.

    ``rows_file``: a parquet file to write the rows to as well; one that is there is refused unless ``overwrite``.
    ``own_scores``: a parquet file with ``user_id``, the labels' moment and ``score`` of each tested row, a baseline
    more.

    ``test_from``: a date; all rows from then on are tested, of all users, in the place of the held-out part. It has to
    be later than all rows that the head was fitted to. So a head of last month's is tested on this month's rows. The
    baselines are fitted to the earlier rows of ``label_file``, and left out if it has none.

    ``features_file``: features of the bank's own, for a head that reads them, at the moments of ``label_file``.

    Raises :class:`ConfigError` for a single fold, for the held-out part of a head that is fitted to all rows, and
    before the work where an evaluation of something else would be replaced and ``overwrite`` is false;
    :class:`ArtifactError` without such a head of this run, and :class:`DataError` for labels of another kind and where
    a part lacks a class.
    """
    if n_folds < 0 or n_folds == 1:
        raise ConfigError(f"{n_folds} folds: expected 2 or more, or 0 for the held-out part")
    if n_folds and test_from:
        raise ConfigError("folds are of all dates, and test_from is one; give one of the two")
    case = _case(run, data, label_file, task, features_file, progress)
    out = out or case.folder
    file = out / evaluation_file(n_folds)
    provenance = _provenance(case, label_file, own_scores, test_from, features_file)
    if rows_file and rows_file.exists() and not overwrite:
        raise ConfigError(f"{rows_file}: exists already; --overwrite replaces it")
    if not (n_folds or test_from):
        require_held_out(SavedHead(case.head, case.folder))
    replaced = replaced_evaluation(file, task, provenance, overwrite)
    if n_folds:
        outcome, cutoff = _cross_validated(case, n_folds), None
        protocol = f"{n_folds}-fold cross-validation by user, all dates"
    else:
        outcome, split = _held_out(case, test_from)
        cutoff, protocol = date_of(split.cutoff), PROTOCOLS[split.by]
        if test_from:
            protocol = f"all users, from {test_from} on, after all rows of the fit"
    method, columns = case.head.method, outcome.columns
    models = {method: "candidate", **{name: name for name in BASELINES if name in columns}}
    if own_scores:
        columns[OWN], n_others = read_own_scores(own_scores, case.time, columns["users"], columns["at"])
        models[OWN] = OWN
        if n_others:
            progress.say(f"{own_scores}: {n_others:,} rows are of no tested row, and were not used")
    if rows_file:
        write_rows(rows_file, case.time, columns, models)
    progress.stage("Drawing users again for the intervals", None)
    evaluation = evaluate_scores(
        columns["labels"],
        columns["users"],
        {model: columns[name] for model, name in models.items()},
        method,
        task=task,
        kind=case.head.kind,
        method=f"{method} ({_each(outcome.heads, 'classifier')})",
        run=run.name,
        protocol=protocol,
        train=outcome.counts["train"],
        calibration=outcome.counts.get("calibration"),
        cut_off=cutoff,
        skipped=case.rows.skipped,
        cautions=[*case.rows.cautions, *outcome.cautions],
        uncalibrated=columns["uncalibrated"],
        calibration_method=_each(outcome.heads, "calibrator"),
        provenance=provenance,
        replicates=replicates,
    )
    with write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_rows(rows_of(file), case.time, columns, models)
    write_report([evaluation], report_of(file))
    write_file(file, msgspec.json.format(msgspec.json.encode(evaluation), indent=1))
    if replaced:
        progress.say(replaced)
    return evaluation


def _case(
    run: Run, data: TokenizedDataset, label_file: Path, task: str, features_file: Path | None, progress: Progress
) -> _Case:
    check_same_tokenizer(run, data)
    folder = head_folder(run, task)
    if not (folder / "head.json").is_file():
        raise ArtifactError(f"{folder}: there is no head; run `pragmatiq finetune ... --task {task}` first")
    head = load_head(folder)
    settings = settings_of(SavedHead(head, folder))
    if head.info.get("weights_hash") != weights_hash(run.network):
        raise ArtifactError(f"{folder}: the head was fitted on other weights than {run.path} holds; fine-tune again")
    rows = labels_for(head, label_file, data, features_file)
    return _Case(run, data, rows, users_of(data, rows), head, folder, settings, progress)


def _held_out(case: _Case, test_from: str | None) -> tuple[_Outcome, Split]:
    head, network = case.head, case.run.network
    saved = SavedHead(head, case.folder)
    arguments = (saved, case.rows, case.data)
    split = out_of_time(*arguments, test_from) if test_from else split_of(*arguments)
    if head.adapts_network:
        network = merged(network, load_adapters(SavedHead(head, case.folder).adapters_file, weights_hash(network)))
    if not test_from:
        outcome = _outcome(case, head, _inputs(case, network), split)
        return replace(outcome, cautions=_known(split)), split
    fit_to = [case.rows.labels[part] for part in (split.train, split.calibration)]
    baselines = BASELINES if all(len(np.unique(labels)) == 2 for labels in fit_to) else ()
    outcome = _outcome(case, head, _inputs(case, network), split, baselines)
    cautions = [] if baselines else [NO_BASELINES]
    return replace(outcome, counts=fitted_counts(head), cautions=[*_known(split), *cautions]), split


def _known(split: Split) -> list[str]:
    """A caution of tested users that fits have seen, if there are any."""
    if not split.known:
        return []
    return [f"{split.known:,} of {len(split.test):,} test rows are of users of the training or calibration part."]


def _inputs(case: _Case, network: PragmaNetwork) -> LabelledInputs:
    """All rows as ``network`` reads them, kept beside the head."""
    return encode_rows(
        network,
        case.data,
        case.rows,
        max_events=case.head.info.get("max_events"),
        kept=case.folder / INPUTS_FILE,
        progress=case.progress,
    )


def _cross_validated(case: _Case, n_folds: int) -> _Outcome:
    """The outcomes of all folds together, their rows fold by fold."""
    task, settings = case.head.task, case.settings
    # Of a frozen network the inputs are the same for every fold; adapters are fitted anew.
    inputs = None if case.head.adapts_network else _inputs(case, case.run.network)
    fitted_to = FitCase(case.run, case.data, case.rows, task, settings, case.progress)
    outcomes = []
    for split in _fold_splits(case.users, n_folds, settings.seed):
        fit = fit_task(fitted_to, split.train, inputs=inputs)
        head = calibrated(fit.head, fit.inputs.rows(split.calibration), settings.seed)
        outcomes.append(_outcome(case, head, fit.inputs, split))
    return _Outcome(
        heads=[head for outcome in outcomes for head in outcome.heads],
        columns={name: np.concatenate([outcome.columns[name] for outcome in outcomes]) for name in outcomes[0].columns},
        counts={"train": Counts.of(case.rows.labels, case.users)},
    )


def _fold_splits(users: Array, n_folds: int, seed: int) -> Iterator[Split]:
    """For each fold of users, those that it tests; of the others some calibrate and the rest train."""
    fold = folds(users.tolist(), n_folds, seed)
    for held_out in range(n_folds):
        rest = np.flatnonzero(fold != held_out)
        calibrates = folds(users[rest].tolist(), round(1 / CALIBRATION_SHARE), seed + 1) == 0
        yield Split(rest[~calibrates], rest[calibrates], np.flatnonzero(fold == held_out), cutoff=None, left_out=0)


def _outcome(
    case: _Case, head: Head, inputs: LabelledInputs, split: Split, baselines: Sequence[str] = BASELINES
) -> _Outcome:
    """What ``head``, and baselines fitted to the same rows, make of the rows that ``split`` tests."""
    test, seed = inputs.rows(split.test), case.settings.seed
    columns = {
        "labels": test.labels,
        "users": test.users,
        "at": case.rows.at[split.test],
        "candidate": score(head, test),
        "uncalibrated": _sigmoid(score(head, test, calibrate=False)),
    }
    case.progress.stage("Fitting the baselines", len(baselines))
    for name in baselines:
        read = baseline_inputs(name, inputs)
        baseline = fit_baseline(name, head.kind, read.rows(split.train), seed)
        baseline = calibrated(baseline, read.rows(split.calibration), seed)
        columns[name] = score(baseline, read.rows(split.test))
        case.progress.advance(1)
    counts = {name: Counts.of(inputs.labels[part], inputs.users[part]) for name, part in split.parts.items()}
    return _Outcome([head], columns, counts)


def _each(heads: list[Head], what: str) -> str:
    """What the heads say of themselves, once each."""
    return ", ".join(sorted({head.info[what] for head in heads}))


def _sigmoid(logits: Float32) -> Float32:
    return np.exp(-np.logaddexp(0, -logits.astype(np.float64))).astype(np.float32)


def _provenance(
    case: _Case, label_file: Path, own_scores: Path | None, test_from: str | None, features_file: Path | None
) -> dict[str, Any]:
    return {
        "run": case.run.name,
        "labels": label_file.name,
        "labels_sha256": table_hash(label_file),
        "fitted_to_labels_sha256": case.head.info.get("labels_sha256", "unknown"),
        "tokenizer_hash": case.run.tokenizer_hash,
        "weights_hash": case.head.info["weights_hash"],
        "head_sha256": SavedHead(case.head, case.folder).sha256,
        **({"test_from": test_from} if test_from else {}),
        **({"own_features_sha256": table_hash(features_file)} if features_file else {}),
        **({"own_scores_sha256": file_hash(own_scores)} if own_scores else {}),
    }
