"""An evaluation: all that was found about one task's scores, as a value that goes to JSON and back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from pragmatiq_builder.metrics.curves import Curves, curves
from pragmatiq_builder.metrics.intervals import (
    MIN_USERS_PER_CLASS,
    Difference,
    Estimate,
    Intervals,
    bootstrap,
    users_per_class,
)
from pragmatiq_builder.metrics.metrics import METRICS, measure
from pragmatiq_triton.errors import ArtifactError

Kind = Literal["user", "event"]


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much data a part of the split holds."""

    rows: int
    positives: int
    users: int

    @classmethod
    def of(cls, labels: npt.ArrayLike, users: npt.ArrayLike) -> "Split":
        """Count ``labels`` 0 or 1 [n] and the distinct ``users`` [n]."""
        return cls(np.size(labels), int(np.sum(labels)), len(np.unique(users)))


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``method`` did to the candidate on the test rows: Brier score, log loss and expected calibration error."""

    method: str
    before: dict[str, float]
    after: dict[str, float]


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an evaluation found; ``msgspec.json`` writes and reads it.

    ``metrics[model][metric]`` and ``differences[baseline][metric]`` (candidate - baseline) carry 95 % intervals over
    ``replicates`` paired draws of the test users, of which ``left_out`` lacked a class. ``splits`` are ``train``,
    ``calibration`` (if there is one) and ``test``; ``skipped`` counts labels not used by reason; ``cut_off`` is the
    date that parts training from test, if any. ``cautions`` are sentences that belong beside the numbers.
    """

    task: str
    kind: Kind
    method: str
    run: str
    protocol: str
    candidate: str
    splits: dict[str, Split]
    cut_off: str | None
    skipped: dict[str, int]
    metrics: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Difference]]
    curves: dict[str, Curves]
    calibration: Calibration | None
    cautions: list[str]
    seed: int
    replicates: int
    left_out: int
    provenance: dict[str, str]


def read_evaluation(file: Path) -> Evaluation:
    """Read what ``pragmatiq evaluate`` wrote; :class:`ArtifactError` where it cannot be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Evaluation)
    except (OSError, msgspec.DecodeError) as error:
        raise ArtifactError(f"{file}: cannot be read ({error}); evaluate the task again") from error


def evaluate_scores(
    labels: npt.ArrayLike,
    users: Sequence[str] | npt.NDArray[Any],
    scores: Mapping[str, npt.ArrayLike],
    candidate: str,
    *,
    task: str,
    kind: Kind,
    method: str,
    run: str,
    protocol: str,
    train: Split,
    calibration: Split | None = None,
    cut_off: str | None = None,
    skipped: Mapping[str, int] | None = None,
    cautions: Sequence[str] = (),
    uncalibrated: npt.ArrayLike | None = None,
    calibration_method: str = "",
    provenance: Mapping[str, str] | None = None,
    seed: int = 0,
    replicates: int = 1000,
) -> Evaluation:
    """Evaluate probabilities ``scores`` [n] of each model on the same test rows.

    ``labels`` 0 or 1 [n]; ``users`` [n]: whose rows they are; ``candidate``: the model in question, every other one is
    a baseline. ``uncalibrated`` [n] are the candidate's probabilities before ``calibration_method``.

    Raises :class:`~pragmatiq_triton.errors.DataError` for labels of one class and arrays that do not fit,
    :class:`~pragmatiq_triton.errors.ConfigError` for an unknown candidate or too few replicates.
    """
    labels, users = np.asarray(labels), np.asarray(users)
    arrays = {name: np.asarray(values) for name, values in scores.items()}
    intervals = bootstrap(labels, users, arrays, candidate, seed=seed, replicates=replicates)
    change = None
    if uncalibrated is not None:
        after = {name: estimate.value for name, estimate in intervals.estimates[candidate].items()}
        before = measure(labels, np.asarray(uncalibrated))
        change = Calibration(calibration_method, _of_probabilities(before), _of_probabilities(after))
    splits = {"train": train, "calibration": calibration, "test": Split.of(labels, users)}
    return Evaluation(
        task=task,
        kind=kind,
        method=method,
        run=run,
        protocol=protocol,
        candidate=candidate,
        splits={name: split for name, split in splits.items() if split is not None},
        cut_off=cut_off,
        skipped=dict(skipped or {}),
        metrics=intervals.estimates,
        differences=intervals.differences,
        curves={name: curves(labels, users, values) for name, values in arrays.items()},
        calibration=change,
        cautions=[*cautions, *_cautions(users_per_class(labels, users), intervals, replicates)],
        seed=seed,
        replicates=replicates,
        left_out=intervals.left_out,
        provenance=dict(provenance or {}),
    )


def _of_probabilities(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that see calibration: those where lower is better."""
    return {name: value for name, value in metrics.items() if METRICS[name].lower_is_better}


def _cautions(users_with: tuple[int, int], intervals: Intervals, replicates: int) -> list[str]:
    cautions = []
    for label, count in zip(("negative", "positive"), users_with, strict=True):
        if count < MIN_USERS_PER_CLASS:
            cautions.append(
                f"Users with a {label} row: {count}. Intervals over fewer than {MIN_USERS_PER_CLASS} are too narrow; "
                "no difference is called distinguishable."
            )
    if intervals.left_out:
        cautions.append(f"{intervals.left_out} of {replicates} draws of users lacked a class and were left out.")
    return cautions
