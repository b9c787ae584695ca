"""``pragmatiq export --precision int8``: event encoders calibrated on some users, and what that costs on others."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.export.layout import ScoringModel
from pragmatiq_builder.export.manifest import Change, Cosine, Quantization, TaskCost
from pragmatiq_builder.finetune.encoding import check_same_tokenizer, users_of
from pragmatiq_builder.finetune.fitted import labels_for, settings_of, split_of
from pragmatiq_builder.finetune.fitting import score
from pragmatiq_builder.finetune.inputs import LabelledInputs, head_inputs
from pragmatiq_builder.finetune.labels import LabelledRows
from pragmatiq_builder.finetune.splits import SplitSettings, held_out, sample
from pragmatiq_builder.heads import Head
from pragmatiq_builder.heads.saved import SavedHead, saved_heads
from pragmatiq_builder.metrics import measure
from pragmatiq_builder.onnx.quantize import quantize_event_encoder
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.runs import Run
from pragmatiq_triton.batch import Batch, Float32, Int64, UserFeatures, newest_events
from pragmatiq_triton.cpus import usable_cpus
from pragmatiq_triton.errors import ConfigError, DataError
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.tokenizer import Tokenizer, assemble

CALIBRATION_USERS = 64
CALIBRATION_EVENTS = 256
"""The newest of each user."""
MEASURED_USERS = 128
"""Whose embeddings are compared; a task's scores are on all its test rows."""


class Int8Quantizer:
    """Turns the scorers of a run into int8, one call each.

    Users that any task of the run tests on never calibrate, and only they are measured on; of a run without tasks, the
    users that a task with default settings would test on. All are drawn by their ids.
    """

    def __init__(
        self, run: Run, data: TokenizedDataset, label_files: Mapping[str, Path], progress: Progress = Silent()
    ) -> None:
        """``label_files``: for each task of the run, the labels to measure it on.

        Raises :class:`ConfigError` where tasks and ``label_files`` differ, :class:`ArtifactError` for a data set of
        another tokenizer, and :class:`DataError` for labels that a task cannot be measured on and where no user is left
        to calibrate or to measure.
        """
        check_same_tokenizer(run, data)
        heads = {saved.head.task: saved for saved in saved_heads(run.path)}
        _require_labels(run, list(heads), list(label_files))
        self._data, self._progress, self._threads = data, progress, usable_cpus()
        self._tests = {task: _test_rows(saved, label_files[task], data) for task, saved in heads.items()}
        splits = [settings_of(saved).split for saved in heads.values()] or [SplitSettings()]
        tests = np.any([held_out(data.user_ids, split) for split in splits], axis=0)
        self._calibrating = _drawn(data, ~tests, CALIBRATION_USERS, "calibrate: the tasks test on all of them")
        self._measured = _drawn(data, tests, MEASURED_USERS, "measure: the tasks test on none of them")

    def __call__(self, model: ScoringModel, folder: Path) -> Quantization:
        """Replace the event encoder in ``model``'s scorer ``folder``."""
        in_fp32 = self._read(model, folder, "float32")
        users = list(self._users(self._calibrating, min(CALIBRATION_EVENTS, model.max_events or CALIBRATION_EVENTS)))
        quantize_event_encoder(folder, self._batches(users, f"Calibrating {model.scorer}"), threads=self._threads)
        in_int8 = self._read(model, folder, "int8")
        return Quantization(
            calibration_users=len(users),
            calibration_events=sum(len(user.events) for user in users),
            held_out_users=len(self._measured),
            embedding_cosine=_cosine(in_fp32[0], in_int8[0]),
            tasks={task: _cost(self._tests[task].labels, in_fp32[1][task], in_int8[1][task]) for task in model.tasks},
        )

    def _read(self, model: ScoringModel, folder: Path, precision: str) -> tuple[Float32, dict[str, Float32]]:
        """What the scorer in ``folder`` makes of held-out users: embeddings [n, dim], and each task's scores [n]."""
        scorer = Scorer(folder, threads=self._threads)
        most = model.max_events or self._data.config.max_events_per_user
        users = list(self._users(self._measured, most))
        batches = self._batches(users, f"Measuring {model.scorer} in {precision}")
        embeddings = np.concatenate([scorer.embed(batch).user_embedding for batch in batches])
        return embeddings, {saved.head.task: self._scores(saved.head, scorer, most) for saved in model.heads}

    def _scores(self, head: Head, scorer: Scorer, most: int) -> Float32:
        rows = self._tests[head.task]
        inputs = head_inputs(self._data, rows, scorer, max_events=most, progress=self._progress)
        names = Tokenizer(self._data.vocabulary, "wide").features.names
        return score(head, LabelledInputs(inputs, names, rows.labels, users_of(self._data, rows)))

    def _users(self, numbers: Int64, most: int) -> Iterator[UserFeatures]:
        for user in numbers.tolist():
            yield newest_events(assemble(self._data.encoded(user), self._data.config), most)

    def _batches(self, users: list[UserFeatures], title: str) -> Iterator[Batch]:
        self._progress.stage(title, len(users))
        for user in users:
            yield self._data.collate([user])
            self._progress.advance(1)


def _require_labels(run: Run, tasks: list[str], labelled: list[str]) -> None:
    if unknown := [task for task in labelled if task not in tasks]:
        raise ConfigError(f"--label {unknown[0]}: {run.path} has no such task; its tasks: {', '.join(tasks) or 'none'}")
    if missing := [task for task in tasks if task not in labelled]:
        raise ConfigError(
            f"what int8 costs {', '.join(missing)} would be unknown; give the labels of each task of {run.path} with "
            "--label TASK=PARQUET"
        )


def _test_rows(saved: SavedHead, label_file: Path, data: TokenizedDataset) -> LabelledRows:
    """The rows that the head is tested on."""
    if "own_features" in saved.head.info:
        raise ConfigError(
            f"task {saved.head.task}: reads features of your own, which int8's cost is not measured with; export with "
            "--precision fp32"
        )
    rows = labels_for(saved.head, label_file, data)
    test = split_of(saved, rows, data).test
    rows = rows.take(test)
    if len(np.unique(rows.labels)) < 2:
        raise DataError(
            f"{label_file}: {len(test)} of its rows test {saved.head.task}, {rows.labels.sum()} of them positive, "
            "expected both classes; give the labels that the task was fitted with"
        )
    return rows


def _drawn(data: TokenizedDataset, among: npt.NDArray[np.bool_], most: int, purpose: str) -> Int64:
    """Numbers of at most ``most`` of the users ``among`` [n_users]."""
    numbers = np.flatnonzero(among)
    if not len(numbers):
        raise DataError(f"{data.folder}: of its {data.n_users} users none is left to {purpose}; give more users")
    return numbers[sample([data.user_ids[number] for number in numbers], most, b"int8")]


def _cosine(one: Float32, other: Float32) -> Cosine:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = np.einsum("nd,nd->n", one, other, dtype=np.float64) / lengths
    return Cosine(*(float(number) for number in (*np.quantile(cosines, (0, 0.01, 0.5)), cosines.mean())))


def _cost(labels: npt.NDArray[np.int8], fp32: Float32, int8: Float32) -> TaskCost:
    in_fp32, in_int8 = measure(labels, fp32), measure(labels, int8)
    return TaskCost(
        rows=len(labels),
        positives=int(labels.sum()),
        roc_auc=Change(in_fp32["roc_auc"], in_int8["roc_auc"]),
        pr_auc=Change(in_fp32["pr_auc"], in_int8["pr_auc"]),
        max_score_change=float(np.abs(int8 - fp32).max()),
    )
