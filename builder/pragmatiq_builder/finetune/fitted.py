"""A head that was fitted, and the labels that are to judge it."""

from pathlib import Path

import msgspec
import numpy as np

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.encoding import users_of
from pragmatiq_builder.finetune.labels import LabelledRows, read_labels
from pragmatiq_builder.finetune.own_features import require_given, select_own_features, with_own_features
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.finetune.splits import Split, split_again
from pragmatiq_builder.heads import Head
from pragmatiq_builder.heads.saved import EVALUATION_FILE, SavedHead
from pragmatiq_builder.metrics import Split as Counts
from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.time_range import start_of_day


def settings_of(saved: SavedHead) -> FinetuneSettings:
    """What the head was fitted with; :class:`ArtifactError` where it does not say."""
    try:
        return msgspec.convert(saved.head.info["settings"], FinetuneSettings)
    except (KeyError, msgspec.ValidationError) as error:
        raise ArtifactError(
            f"{saved.folder}: head.json does not say how it was fitted ({error}); fine-tune again"
        ) from error


def labels_for(head: Head, label_file: Path, data: TokenizedDataset, features_file: Path | None = None) -> LabelledRows:
    """The rows of ``label_file``, with the features of the bank's own that ``head`` reads, if it reads some.

    Raises :class:`DataError` where they are of another kind than ``head`` judges or a feature is not there, and
    :class:`ConfigError` where features are lacking as a whole, or given for nothing.
    """
    fitted_with = head.info.get("own_features")
    require_given(fitted_with, features_file, head.task)
    rows = read_labels(label_file, data, judge=head)
    if features_file is None or not fitted_with:
        return rows
    return select_own_features(with_own_features(rows, features_file, data), fitted_with["names"], features_file)


def split_of(saved: SavedHead, rows: LabelledRows, data: TokenizedDataset) -> Split:
    """The parts of ``rows``, divided as they were for fitting the head: by the same users, dates or column."""
    settings = settings_of(saved).split
    if "cutoff_ts" not in saved.head.info:
        raise ArtifactError(f"{saved.folder}: head.json does not say at which date it was fitted; fine-tune again")
    info = saved.head.info
    return split_again(users_of(data, rows).tolist(), rows, settings, info["cutoff_ts"], info.get("split_by"))


def out_of_time(saved: SavedHead, rows: LabelledRows, data: TokenizedDataset, test_from: str) -> Split:
    """All rows from the date ``test_from`` on test the head; rows that it was fitted to, if ``rows`` have them, train.

    Raises :class:`ConfigError` for a date that is not later than all rows of the fit, :class:`ArtifactError` for a head
    that does not say until when these were.
    """
    info = saved.head.info
    until, start = info.get("fitted_until_ts", info.get("cutoff_ts")), start_of_day("--test-from", test_from)
    if until is None:
        raise ArtifactError(f"{saved.folder}: head.json does not say until when its rows were; fine-tune again")
    if start <= until:
        raise ConfigError(
            f"--test-from {test_from}: the head was fitted to rows up to {np.datetime64(until, 'us')}, expected a "
            "later date"
        )
    divided = info.get("split_by") != "labels" or rows.parts is not None
    split = split_of(saved, rows, data) if divided else None
    nothing = np.zeros(0, np.int64)
    train, calibration = (split.train, split.calibration) if split else (nothing, nothing)
    if split and "final" in info:
        train = np.union1d(train, split.test)
    train, calibration = (part[rows.at[part] <= until] for part in (train, calibration))
    test = np.flatnonzero(rows.at >= start)
    users = users_of(data, rows)
    known = np.isin(users[test], users[np.concatenate([train, calibration])])
    left_out = len(rows.labels) - len(train) - len(calibration) - len(test)
    return Split(train, calibration, test, start - 1, left_out, "dates", int(known.sum()))


def fitted_counts(head: Head) -> dict[str, Counts]:
    """The parts that a head says it was fitted to and calibrated on."""
    rows = {"train": head.info["final"]["rows"]} if "final" in head.info else head.info["rows"]
    return {name: msgspec.convert(found, Counts) for name, found in rows.items() if name != "test"}


def require_held_out(saved: SavedHead) -> None:
    """Raise :class:`ConfigError` for a head that is fitted to all rows, so that none is held out."""
    if "final" in saved.head.info:
        raise ConfigError(
            f"{saved.folder}: the head is fitted to all rows, so none is held out, and its {EVALUATION_FILE} is of the "
            "head before; --test-from DATE tests it on rows after these, --folds N the method"
        )
