"""Labels of users and of single events, checked against the histories that they judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.raw import read_label_table
from builder.raw.arrays import Mask
from builder.raw.labels import LabelTime
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.time_range import TimeRange

Kind = Literal["user", "event"]
_KINDS: dict[LabelTime, Kind] = {"eval_ts": "user", "ts": "event"}


class History(Protocol):
    """What labels need of a data set: its users and when their events were."""

    @property
    def user_ids(self) -> Sequence[str]:
        """In the order of the users' numbers."""
        ...

    @property
    def times(self) -> TimeRange:
        """Which moments are plausible."""
        ...

    def event_times(self, user: int) -> Int64:
        """Ascending, in microseconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Moments of users, each with the class to predict from the history up to it.

    ``kind`` "user": the history strictly before ``at`` is judged; "event": the one up to and including the event at
    ``at``. ``users`` int64 [n], the data set's numbers; ``at`` int64 [n], microseconds since the epoch; ``labels``
    int8 [n], 0 or 1; ``skipped``: for each reason that occurred, the number of rows left out.
    """

    kind: Kind
    users: Int64
    at: Int64
    labels: npt.NDArray[np.int8]
    skipped: dict[str, int]


def read_labels(path: Path, data: History) -> LabelledRows:
    """The usable rows of a label file or folder, in its order: ``user_id``, ``label`` and ``eval_ts`` or ``ts``.

    Left out and counted: rows without a label, of users that ``data`` does not have, that repeat an earlier row, and
    of moments that have no history. Raises :class:`DataError` where the file contradicts itself or the contract, and
    where the rest does not hold both classes. Rows are numbered from 0; a time without a zone is read as UTC.
    """
    table = read_label_table(path, times=data.times)
    assert table is not None, "the first error is raised"
    rows = LabelledRows(
        kind=_KINDS[table.time],
        users=_user_numbers(path, table.users, data),
        at=table.at,
        labels=np.nan_to_num(table.labels, nan=-1).astype(np.int8),
        skipped={},
    )
    rows = _without(rows, rows.labels < 0, "label missing")
    rows = _without(rows, rows.users < 0, "user unknown")
    rows = _without(rows, _duplicates(path, rows, data), "duplicate")
    no_history = "no history before eval_ts" if rows.kind == "user" else "no event at ts"
    rows = _without(rows, ~_has_history(rows, data), no_history)
    classes = np.unique(rows.labels)
    if len(classes) < 2:
        found = f"{len(rows.labels)} of them usable" + (f", all labelled {classes[0]}" if len(classes) else "")
        skipped = ", ".join(f"{count} {reason}" for reason, count in rows.skipped.items()) or "none"
        raise DataError(
            f"{path}: expected rows of both classes, got {len(table.labels)} rows, {found}; skipped: {skipped}"
        )
    return rows


def _user_numbers(path: Path, users: pa.Array, data: History) -> Int64:
    """The users' numbers int64 [n], -1 for those that ``data`` does not have."""
    names = users.cast(pa.large_string())
    found = pc.index_in(names, value_set=pa.array(data.user_ids, pa.large_string()))
    numbers = np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    if not np.any(numbers >= 0):
        known = f"such as {data.user_ids[0]!r}" if len(data.user_ids) else "none at all"
        raise DataError(
            f"{path}: none of its users is in the data set: the file has users such as {names[0].as_py()!r}, "
            f"the data set {known}; give the labels of the data that was tokenized"
        )
    return numbers


def _without(rows: LabelledRows, left_out: Mask, reason: str) -> LabelledRows:
    if not left_out.any():
        return rows
    skipped = {**rows.skipped, reason: int(np.count_nonzero(left_out))}
    return LabelledRows(rows.kind, rows.users[~left_out], rows.at[~left_out], rows.labels[~left_out], skipped)


def _duplicates(path: Path, rows: LabelledRows, data: History) -> Mask:
    """Rows that repeat an earlier one; :class:`DataError` where the two have different labels."""
    order = np.lexsort((rows.at, rows.users))
    users, at, labels = rows.users[order], rows.at[order], rows.labels[order]
    again = (np.diff(users) == 0) & (np.diff(at) == 0)
    contradicts = again & (np.diff(labels) != 0)
    if contradicts.any():
        first = np.argmax(contradicts)
        raise DataError(
            f"{path}: user {data.user_ids[users[first]]!r} has labels 0 and 1 at {at[first].astype('M8[us]')} UTC, "
            "expected one of them; remove the wrong row"
        )
    duplicates = np.zeros(len(order), np.bool_)
    duplicates[order[1:]] = again
    return duplicates


def _has_history(rows: LabelledRows, data: History) -> Mask:
    """Whether there is an event before ``at`` (labels of users) or at it (labels of events), bool [n]."""
    order = np.argsort(rows.users, kind="stable")
    starts = np.flatnonzero(np.diff(rows.users[order], prepend=-1))
    fits = np.zeros(len(order), np.bool_)
    for of_user in np.split(order, starts)[1:]:
        times = data.event_times(int(rows.users[of_user[0]]))
        at = rows.at[of_user]
        fits[of_user] = np.searchsorted(times, at) > 0 if rows.kind == "user" else np.isin(at, times)
    return fits
