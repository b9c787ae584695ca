"""The contract's checks: the folder is read as every command reads it, and what is wrong is gathered.

Events are streamed, so only the users' names and the labels stay in memory.
"""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw import EventChunk, LabelTable, check_users, read_events, read_label_table, read_profiles
from pragmatiq_builder.raw.arrays import Int64, Mask, count_values, encode, rows_of_elements
from pragmatiq_builder.raw.empty_fields import EmptyFields
from pragmatiq_builder.raw.event_labels import NO_EVENT, match_events, simultaneous, without_past
from pragmatiq_builder.raw.ids import UInt64
from pragmatiq_builder.raw.labels import LATE, LATE_LABEL, NO_PART, has_label_columns, label_files
from pragmatiq_builder.raw.likeness import likeness
from pragmatiq_builder.raw.parts import find_table, read_table_at
from pragmatiq_builder.raw.validation.gather import Gathered
from pragmatiq_builder.raw.validation.histories import LabelledUsers
from pragmatiq_builder.raw.validation.report import Finding, ValidationReport
from pragmatiq_builder.raw.validation.values import ValueCheck
from pragmatiq_triton.batch import Float32, cu_seqlens
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange

NEVER = np.iinfo(np.int64).max
NO_HISTORY = "no event of the user before eval_ts, so that there is no history to judge"


def validate(data: Path, progress: Progress = Silent(), times: TimeRange = PLAUSIBLE) -> ValidationReport:
    """Check the events, profiles and labels of a raw data folder.

    What is wrong with the data goes into the report and raises nothing. ``times`` are plausible, of a fitted tokenizer
    :attr:`~pragmatiq_triton.tokenizer.Vocabulary.times`. ``progress`` advances by rows.
    """
    report = ValidationReport()
    found = Gathered(data, report, progress.advance)
    progress.stage("Reading", _count_rows(data))
    sources: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    oldest: dict[str, int] = {}
    newest: dict[str, int] = {}
    with_profile: set[str] = set()
    judged_too_early: dict[str, int] = {}
    empty = EmptyFields()
    event_values, profile_values = ValueCheck("events.parquet"), ValueCheck("profiles.parquet")
    try:
        for events in read_events(data, findings=found, times=times):
            _count_events(report, events)
            sources += count_values(events.sources)
            keys += count_values(events.keys)
            has_value = event_values.add_values(events.keys, events.values)
            empty.add_events(events, rows_of_elements(events.field_counts, has_value))
            event_values.add_users(events.user_ids)
            first = events.ts[cu_seqlens(events.event_counts)[:-1]]
            last = events.ts[cu_seqlens(events.event_counts)[1:] - 1]
            oldest.update(zip(events.user_ids, first.tolist(), strict=True))
            newest.update(zip(events.user_ids, last.tolist(), strict=True))
    except DataError as error:
        _add_error(report, data, "events.parquet", error)
    with_events = newest.keys()
    report.users = len(with_events)
    report.sources, report.keys = dict(sources.most_common()), dict(keys.most_common())
    try:
        for profiles in read_profiles(data, findings=found, times=times):
            report.profiles += len(profiles.user_ids)
            profile_values.add_values(profiles.attribute_keys, profiles.attribute_values)
            profile_values.add_users(profiles.user_ids)
            empty.add_profiles(profiles)
            with_profile.update(user_id for user_id in profiles.user_ids if user_id is not None)
            for user_id, as_of in zip(profiles.user_ids, profiles.as_of.tolist(), strict=True):
                if 0 < as_of < newest.get(user_id, 0):
                    judged_too_early.setdefault(user_id, as_of)
    except DataError as error:
        _add_error(report, data, "profiles.parquet", error)
    try:
        for path in label_files(data):
            # Where no event could be read, nobody knows the users.
            _check_labels(path, found, report, with_events | with_profile if with_events else set(), oldest, times)
    except DataError as error:
        _add_error(report, data, "labels", error)
    report.warnings += [*event_values.findings(), *profile_values.findings()]
    report.warnings += [Finding(*each) for each in empty.findings()]
    try:
        check_users(data, with_events, with_profile)
    except DataError as error:
        _add_error(report, data, "profiles.parquet", error, len(with_profile))
        return report
    if judged_too_early:
        user_id, as_of = next(iter(judged_too_early.items()))
        what = "as_of is before the user's newest event; events after the moment of judgement are read all the same"
        example = {"user_id": user_id, "as_of": as_of, "newest_ts": newest[user_id]}
        report.warnings.append(Finding("profiles.parquet", what, len(judged_too_early), example))
    if with_profile and (lacking := with_events - with_profile):
        example = {"user_id": min(lacking)}
        what = f"user with events has no profile{likeness(lacking, with_profile - with_events)}"
        report.warnings.append(Finding("profiles.parquet", what, len(lacking), example))
    return report


def _count_rows(data: Path) -> int:
    """Rows of all files that can be read."""
    n_rows = 0
    for name in ("events", "profiles"):
        with suppress(DataError):
            table = find_table(data, name)
            n_rows += table.count_rows() if table else 0
    for path in label_files(data):
        with suppress(DataError):
            n_rows += read_table_at(path).count_rows()
    return n_rows


def _count_events(report: ValidationReport, chunk: EventChunk) -> None:
    report.events += len(chunk.ts)
    first, last = int(chunk.ts.min()), int(chunk.ts.max())
    report.first_ts = first if report.first_ts is None else min(first, report.first_ts)
    report.last_ts = last if report.last_ts is None else max(last, report.last_ts)


def _check_labels(
    path: Path, found: Gathered, report: ValidationReport, users: set[str], oldest: dict[str, int], times: TimeRange
) -> None:
    """Check a label file against the ``users`` of events and profiles, of whom those with events have an ``oldest``."""
    if not has_label_columns(path):
        # The upstream generator writes tables of other shapes into the same folder.
        found.remark(path, "not labels of the contract (user_id, label, eval_ts or ts); the file was passed over")
        return
    table = read_label_table(path, found, times)
    if table is None:
        return
    report.labels[path.stem] = len(table.labels)
    values = ValueCheck(f"labels/{path.name}")
    values.add_users(table.users)
    report.warnings += values.findings()
    code, names = encode(table.users)
    events_are_read = bool(users) and not any(error.file.startswith("events") for error in report.errors)
    if users:
        unknown = np.array([name is not None and name not in users for name in names])[code]
        what = "user is in neither events nor profiles"
        alike = likeness([name for name in names if name is not None and name not in users], users)
        if len(unknown) and unknown.all():
            found.add(report.errors, path, f"{what}, in every row{alike}", *_counted(table, unknown))
        elif unknown.any():
            found.add(report.warnings, path, f"{what}; the row is skipped{alike}", *_counted(table, unknown))
    if table.time == "eval_ts" and events_are_read:
        first_events = np.array([oldest.get(name or "", NEVER) for name in names])[code]
        known = np.array([name in users for name in names])[code]
        early = known & (table.at <= first_events)
        if len(early) and early.all():
            found.add(report.errors, path, f"{NO_HISTORY}, in every row", *_counted(table, early))
        elif early.any():
            found.add(report.warnings, path, f"{NO_HISTORY}; the row is skipped", *_counted(table, early))
    if table.time == "ts" and events_are_read:
        try:
            _check_event_labels(path, table, found, report, times)
        except DataError as error:
            found.add(report.errors, path, str(error).removeprefix(f"{path}: "), 1, None)
            return
    if table.time == "eval_ts" and report.last_ts is not None and (late := table.at > report.last_ts + LATE).any():
        found.add(report.warnings, path, LATE_LABEL, *_counted(table, late))
    again, contradicts = _repeats(code, table.at, table.labels, table.event_ids)
    if contradicts.any():
        what = f"second row of a user_id and {table.time}, with another label; expected one of them"
        found.add(report.errors, path, what, *_counted(table, contradicts))
    if table.parts is not None:
        parts = np.where(table.parts == NO_PART, np.nan, table.parts).astype(np.float32)
        _, divided = _repeats(code, table.at, parts, table.event_ids)
        if divided.any():
            what = (
                f"second row of a user_id and {table.time}, in another part of the column split; expected one of them"
            )
            found.add(report.errors, path, what, *_counted(table, divided))
    if again.any():
        what = f"second row of a user_id and {table.time}; the row is skipped"
        found.add(report.warnings, path, what, *_counted(table, again))


def _check_event_labels(
    path: Path, table: LabelTable, found: Gathered, report: ValidationReport, times: TimeRange
) -> None:
    """Labels of events mean an event each; :class:`DataError` where nothing tells which."""
    names = table.users.to_pylist()
    data = LabelledUsers(found.data, set(names), times)
    numbers = {name: number for number, name in enumerate(data.user_ids)}
    users = np.array([numbers.get(name, -1) for name in names], np.int64)
    usable = np.flatnonzero((users >= 0) & ~np.isnan(table.labels))
    columns = (table.rows[usable], users[usable], table.at[usable], table.event_ids[usable])
    events, by_source = match_events(path, *columns, data)
    for source, n_rows in by_source.items():
        what = f"label of a moment with several events, without an event_id; taken for the only one of {source!r}"
        found.add(report.warnings, path, what, n_rows, None)
    missing = np.zeros(len(names), np.bool_)
    missing[usable[events == NO_EVENT]] = True
    if missing.any():
        found.add(report.warnings, path, "no event of the user at ts; the row is skipped", *_counted(table, missing))
    matched = usable[events != NO_EVENT]
    labels, events = table.labels[matched].astype(np.int64), events[events != NO_EVENT]
    cautions = simultaneous(users[matched], table.at[matched], events, labels, data)
    for caution in [*cautions, *without_past(users[matched], table.at[matched], data)]:
        found.remark(path, caution)


def _counted(table: LabelTable, rows: Mask) -> tuple[int, dict[str, Any]]:
    row = int(np.argmax(rows))
    example = {"row": int(table.rows[row]), "user_id": table.users[row].as_py(), table.time: int(table.at[row])}
    return int(np.count_nonzero(rows)), example


def _repeats(users: Int64, at: Int64, labels: Float32, ids: UInt64) -> tuple[Mask, Mask]:
    """Rows that repeat an earlier one with the same label, and those with another; a missing label does neither."""
    order = np.lexsort((ids, at, users))
    order = order[~np.isnan(labels[order])]
    same = np.logical_and.reduce([np.equal(key[order[1:]], key[order[:-1]]) for key in (users, at, ids)])
    differs = labels[order[1:]] != labels[order[:-1]]
    again, contradicts = np.zeros(len(users), np.bool_), np.zeros(len(users), np.bool_)
    again[order[1:]], contradicts[order[1:]] = same & ~differs, same & differs
    return again, contradicts


def _add_error(report: ValidationReport, data: Path, file: str, error: DataError, count: int = 1) -> None:
    """An error about the folder itself."""
    report.errors.append(Finding(file, str(error).removeprefix(f"{data / file}: "), count))
