"""Labels of users and of single events, checked against the histories that they judge."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pragmatiq_builder.heads import Head
from pragmatiq_builder.raw import read_label_table
from pragmatiq_builder.raw.arrays import Mask
from pragmatiq_builder.raw.event_labels import NO_EVENT, Events, match_events, rows_by_user, simultaneous, without_past
from pragmatiq_builder.raw.labels import LATE, LATE_LABEL, NO_PART, LabelTime
from pragmatiq_builder.raw.likeness import likeness
from pragmatiq_triton.batch import Float32, Int64
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.time_range import TimeRange

Kind = Literal["user", "event"]
_KINDS: dict[LabelTime, Kind] = {"eval_ts": "user", "ts": "event"}


class History(Events, Protocol):
    """What labels need of a data set: its users and when their events were."""

    @property
    def times(self) -> TimeRange:
        """Which moments are plausible."""
        ...


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Moments of users, each with the class to predict from the history up to it.

    ``kind`` "user": the history strictly before ``at`` is judged; "event": that and one event at ``at``, number
    ``events`` int64 [n] of its user's, without others in the same microsecond. ``users`` int64 [n], the data set's
    numbers; ``at`` int64 [n], microseconds since the epoch; ``labels`` int8 [n], 0 or 1; ``skipped``: for each reason
    that occurred, the number of rows left out; ``cautions``: sentences that belong beside results. ``parts`` int8 [n]:
    which part the file's column ``split`` puts a row into, by :data:`~pragmatiq_builder.raw.labels.PARTS`; None without
    one. ``own`` float32 [n, len(own_names)]: features of the bank's own; None without any.
    """

    kind: Kind
    users: Int64
    at: Int64
    labels: npt.NDArray[np.int8]
    skipped: dict[str, int]
    events: Int64 | None = None
    cautions: list[str] = field(default_factory=list)
    parts: npt.NDArray[np.int8] | None = None
    own: Float32 | None = None
    own_names: tuple[str, ...] = ()

    def event(self, row: int, event_ts: Int64) -> int | None:
        """The number of the event that a row judges among its user's at ``event_ts``; None where it judges the user.

        Rows that do not say which of several in one microsecond mean the last, as the server does.
        """
        if self.kind == "user":
            return None
        if self.events is not None:
            return int(self.events[row])
        last = int(np.searchsorted(event_ts, self.at[row], side="right")) - 1
        return last if last >= 0 and event_ts[last] == self.at[row] else None

    def take(self, rows: Int64 | Mask) -> "LabelledRows":
        """Some of the rows."""
        events = None if self.events is None else self.events[rows]
        parts = None if self.parts is None else self.parts[rows]
        own = None if self.own is None else self.own[rows]
        users, at, labels = self.users[rows], self.at[rows], self.labels[rows]
        return replace(self, users=users, at=at, labels=labels, events=events, parts=parts, own=own)


def read_labels(path: Path, data: History, judge: Head | None = None) -> LabelledRows:
    """The usable rows of a label file or folder, in its order: ``user_id``, ``label`` and ``eval_ts`` or ``ts``.

    A label of an event may have its ``event_id``. Left out and counted: rows without a label, of users that ``data``
    does not have, that repeat an earlier row, and of moments that have no history. Raises :class:`DataError` where the
    file contradicts itself or the contract, where nothing tells which of several events is meant, and where the rest
    does not hold both classes; also where the rows are of another kind than the head ``judge`` judges. Rows are
    numbered from 0; a time without a zone is read as UTC.
    """
    table = read_label_table(path, times=data.times)
    assert table is not None, "the first error is raised"
    kind = _KINDS[table.time]
    if judge and kind != judge.kind:
        raise DataError(f"{path}: holds labels per {kind}, the head {judge.task} judges per {judge.kind}")
    (users, unlike), at = _user_numbers(path, table.users, data), table.at
    labels = np.nan_to_num(table.labels, nan=-1).astype(np.int8)
    kept, skipped, cautions = np.arange(len(labels)), dict[str, int](), list[str]()

    def leave_out(rows: Mask, reason: str) -> None:
        nonlocal kept
        if rows.any():
            skipped[reason] = skipped.get(reason, 0) + int(np.count_nonzero(rows))
            kept = kept[~rows]

    leave_out(labels[kept] < 0, "label missing")
    if table.parts is not None:
        leave_out(table.parts[kept] == NO_PART, "split missing")
    leave_out(users[kept] < 0, "user unknown")
    cautions += unlike
    events = np.full(len(labels), NO_EVENT, np.int64)
    if kind == "event":
        columns = (table.rows[kept], users[kept], at[kept], table.event_ids[kept])
        events[kept], by_source = match_events(path, *columns, data)
        cautions += [_guess(source, n) for source, n in by_source.items()]
    leave_out(_duplicates(path, (users, at, table.event_ids), labels, kept, data, table.parts), "duplicate")
    if kind == "user":
        leave_out(~_has_history(users[kept], at[kept], data), "no history before eval_ts")
        cautions += _late(users[kept], at[kept], data)
    else:
        leave_out(events[kept] == NO_EVENT, "no event at ts")
        leave_out(_duplicates(path, (users, at, events), labels, kept, data, table.parts), "duplicate")
    parts = None if table.parts is None else table.parts[kept]
    rows = LabelledRows(kind, users[kept], at[kept], labels[kept], skipped, cautions=cautions, parts=parts)
    if kind == "event":
        numbers = events[kept]
        cautions += simultaneous(rows.users, rows.at, numbers, rows.labels.astype(np.int64), data)
        cautions += without_past(rows.users, rows.at, data)
        rows = replace(rows, events=numbers, cautions=cautions)
    classes = np.unique(rows.labels)
    if len(classes) < 2:
        found = f"{len(rows.labels)} of them usable" + (f", all labelled {classes[0]}" if len(classes) else "")
        reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "none"
        raise DataError(
            f"{path}: expected rows of both classes, got {len(table.labels)} rows, {found}; skipped: {reasons}"
        )
    return rows


def _guess(source: str, n_rows: int) -> str:
    return (
        f"{n_rows} labels are of moments with several events and have no event_id; they are taken for the only event "
        f"there of a source that other rows label, {source!r}."
    )


def _user_numbers(path: Path, users: pa.Array, data: History) -> tuple[Int64, list[str]]:
    """The users' numbers int64 [n], -1 for those that ``data`` does not have, and in what these look like its own."""
    names = users.cast(pa.large_string())
    found = pc.index_in(names, value_set=pa.array(data.user_ids, pa.large_string()))
    numbers = np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    unknown = pc.unique(names.filter(pa.array(numbers < 0))).drop_null().to_pylist()
    alike = likeness(unknown, data.user_ids) if unknown else ""
    if not np.any(numbers >= 0):
        known = f"such as {data.user_ids[0]!r}" if len(data.user_ids) else "none at all"
        raise DataError(
            f"{path}: none of its users is in the data set: the file has users such as {names[0].as_py()!r}, "
            f"the data set {known}{alike or '; give the labels of the data that was tokenized'}"
        )
    return numbers, [f"{len(unknown):,} users of the labels are not in the data set{alike}"] if alike else []


def _duplicates(
    path: Path,
    keys: tuple[Int64, Int64, Any],
    labels: npt.NDArray[np.int8],
    kept: Int64,
    data: History,
    parts: npt.NDArray[np.int8] | None,
) -> Mask:
    """Of the rows ``kept``, those whose user, time and event equal an earlier one's, bool [n].

    Raises :class:`DataError` where two such rows have different labels, or stand in different ``parts``.
    """
    users, at, event = (key[kept] for key in keys)
    order = np.lexsort((event, at, users))
    again = np.logical_and.reduce([np.equal(key[order[1:]], key[order[:-1]]) for key in (users, at, event)])
    contradicts = again & (np.diff(labels[kept][order]) != 0)
    if contradicts.any():
        first = order[np.argmax(contradicts)]
        raise DataError(
            f"{path}: user {data.user_ids[users[first]]!r} has labels 0 and 1 at {at[first].astype('M8[us]')} UTC, "
            "expected one of them; remove the wrong row"
        )
    if parts is not None and (divided := again & (np.diff(parts[kept][order]) != 0)).any():
        first = order[np.argmax(divided)]
        raise DataError(
            f"{path}: user {data.user_ids[users[first]]!r} has two rows at {at[first].astype('M8[us]')} UTC, in two "
            "parts by the column split; remove one of them"
        )
    duplicates = np.zeros(len(order), np.bool_)
    duplicates[order[1:]] = again
    return duplicates


def _has_history(users: Int64, at: Int64, data: History) -> Mask:
    """Whether the user has an event before ``at``, bool [n]."""
    fits = np.zeros(len(users), np.bool_)
    for user, places in rows_by_user(users):
        fits[places] = np.searchsorted(data.event_times(user), at[places]) > 0
    return fits


def _late(users: Int64, at: Int64, data: History) -> list[str]:
    """A caution of labels that lie long after the newest event of the labelled users, each of whom has one."""
    newest = max((int(data.event_times(int(user))[-1]) for user in np.unique(users)), default=0)
    n_late = int(np.count_nonzero(at > newest + LATE))
    return [f"{n_late} of {len(at)} labels: {LATE_LABEL}."] if n_late else []
