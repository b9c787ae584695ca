"""The contract's checks, file by file; events are streamed, so only the users' names and the labels stay in memory."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder.progress import Progress, Silent
from builder.validation.arrays import (
    PER_SECOND,
    Int64,
    Mask,
    children,
    count_values,
    encode,
    integers,
    is_milestones,
    is_number,
    is_string,
    is_string_map,
    is_timestamp,
    null_mask,
    rows_of_children,
    time_problems,
    to_mask,
)
from builder.validation.file import CheckedFile
from builder.validation.report import Finding, ValidationReport

_STRING = (is_string, "a string")
_TIMESTAMP = (is_timestamp, "a timestamp")
_FIELDS = (is_string_map, "a map of strings to strings")
_MILESTONES = (is_milestones, "a list of structs of key (string) and ts (timestamp)")
_LABEL = (is_number, "a number")
_LABEL_TIME = (is_timestamp, "a timestamp; labels of single events have ts instead")


def validate(data: Path, progress: Progress = Silent()) -> ValidationReport:
    """Check ``events.parquet``, ``profiles.parquet`` and ``labels/*.parquet`` of a raw data folder.

    What is wrong with the data goes into the report and raises nothing. A map's keys are never null in Arrow, so
    only those of milestones are checked. ``progress`` advances by rows.
    """
    report = ValidationReport()
    names = ["events.parquet", "profiles.parquet"]
    names += sorted(f"labels/{path.name}" for path in (data / "labels").glob("*.parquet"))
    parquets = {name: parquet for name in names if (parquet := _open(data, name, report)) is not None}
    progress.stage("Reading", sum(parquet.metadata.num_rows for parquet in parquets.values()))
    with_events: set[str] = set()
    with_profile: set[str] = set()
    for name, parquet in parquets.items():
        file = CheckedFile(name, parquet, progress.advance)
        if name == "events.parquet":
            _check_events(file, report, with_events)
        elif name == "profiles.parquet":
            _check_profiles(file, report, with_profile)
        else:
            _check_labels(file, report, with_events | with_profile)
        report.errors += file.errors.values()
        report.warnings += file.warnings.values()
    report.users = len(with_events)
    if with_profile and (lacking := with_events - with_profile):
        example = {"user_id": min(lacking)}
        report.warnings.append(Finding("profiles.parquet", "user with events has no profile", len(lacking), example))
    return report


def _open(data: Path, name: str, report: ValidationReport) -> pq.ParquetFile | None:
    path = data / name
    if not path.is_file():
        report.errors.append(Finding(name, f"no such file in {data}", 1))
        return None
    try:
        return pq.ParquetFile(path, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        report.errors.append(Finding(name, f"cannot be read as Parquet: {error}", 1))
        return None


def _check_events(file: CheckedFile, report: ValidationReport, users: set[str]) -> None:
    """Fills ``users`` with those that have events."""
    sources: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    columns = file.require(user_id=_STRING, ts=_TIMESTAMP, source=_STRING, fields=_FIELDS)
    previous: tuple[str | None, int] = (None, 0)
    for batch in file.batches(columns):
        report.events += batch.num_rows
        for column in columns:
            if column != "ts":
                file.check_nulls(batch, column)
        if "ts" in columns:
            _widen_span(report, batch.column("ts"), file.check_times(batch, "ts"))
        if "user_id" in columns:
            previous = _check_order(file, batch, previous, users)
        if "source" in columns:
            sources += count_values(batch.column("source"))
        if "fields" in columns:
            keys += count_values(children(batch.column("fields"))["key"])
    report.sources, report.keys = dict(sources.most_common()), dict(keys.most_common())


def _check_order(
    file: CheckedFile, batch: pa.RecordBatch, previous: tuple[str | None, int], users: set[str]
) -> tuple[str | None, int]:
    """Each user in one piece, time ascending in it; takes and returns the last user and time of a batch."""
    code, names = encode(batch.column("user_id"))
    continues = np.empty(batch.num_rows, np.bool_)
    continues[0] = names[code[0]] is not None and names[code[0]] == previous[0]
    continues[1:] = code[1:] == code[:-1]
    comes_back = np.zeros(batch.num_rows, np.bool_)
    for row in np.flatnonzero(~continues):
        name = names[code[row]]
        if name is not None:
            comes_back[row] = name in users
            users.add(name)
    file.error("user comes back after another user's rows; group rows by user_id", batch, comes_back)
    if "ts" not in batch.schema.names:
        return names[code[-1]], 0
    ts = integers(batch.column("ts"))
    earlier = continues & ~null_mask(batch.column("ts")) & (ts < np.concatenate([[previous[1]], ts[:-1]]))
    file.warn("ts is earlier than in the row before; the builder sorts each user's events", batch, earlier)
    return names[code[-1]], int(ts[-1])


def _widen_span(report: ValidationReport, column: pa.Array, valid: Mask) -> None:
    if not valid.any():
        return
    ts, per_second = integers(column)[valid], PER_SECOND[column.type.unit]
    first, last = int(ts.min()) * 1_000_000 // per_second, int(ts.max()) * 1_000_000 // per_second
    report.first_ts = first if report.first_ts is None else min(first, report.first_ts)
    report.last_ts = last if report.last_ts is None else max(last, report.last_ts)


def _check_profiles(file: CheckedFile, report: ValidationReport, users: set[str]) -> None:
    """Fills ``users`` with those that have a profile. A milestone may lie before 1970."""
    columns = file.require(user_id=_STRING, as_of=_TIMESTAMP, attributes=_FIELDS, lifelong=_MILESTONES)
    for batch in file.batches(columns):
        report.profiles += batch.num_rows
        for column in columns:
            if column != "as_of":
                file.check_nulls(batch, column)
        if "as_of" in columns:
            file.check_times(batch, "as_of")
        if "user_id" in columns:
            again = np.zeros(batch.num_rows, np.bool_)
            for row, name in enumerate(batch.column("user_id").to_pylist()):
                if name is not None:
                    again[row] = name in users
                    users.add(name)
            file.error("second profile of a user", batch, again)
        if "lifelong" in columns:
            _check_milestones(file, batch)


def _check_milestones(file: CheckedFile, batch: pa.RecordBatch) -> None:
    lifelong = batch.column("lifelong")
    columns = children(lifelong)
    file.error("a lifelong key is null", batch, rows_of_children(lifelong, null_mask(columns["key"])))
    problems = time_problems(columns["ts"])
    del problems["is before 1970"]
    for problem, mask in problems.items():
        file.error(f"a lifelong ts {problem}", batch, rows_of_children(lifelong, mask))


def _check_labels(file: CheckedFile, report: ValidationReport, users: set[str]) -> None:
    names = file.schema.names
    time = "ts" if "ts" in names and "eval_ts" not in names else "eval_ts"
    if "label" not in names or time not in names:
        # The upstream generator writes tables of other shapes into the same folder.
        file.pass_over("not labels of the contract (user_id, label, eval_ts or ts)")
        return
    columns = file.require(user_id=_STRING, label=_LABEL, **{time: _LABEL_TIME})
    batch = file.read(columns)
    report.labels[Path(file.name).stem] = batch.num_rows if batch is not None else 0
    if batch is None:
        return
    if "label" in columns:
        label = pc.cast(batch.column("label"), pa.float64(), safe=False)
        missing = to_mask(pc.is_null(label, nan_is_null=True))
        file.error("label is null or NaN", batch, missing)
        file.error("label is neither 0 nor 1", batch, ~missing & ~to_mask(pc.is_in(label, pa.array([0.0, 1.0]))))
    if time in columns:
        file.check_times(batch, time)
    if "user_id" in columns:
        file.check_nulls(batch, "user_id")
        code, names = encode(batch.column("user_id"))
        unknown = np.array([name is not None and name not in users for name in names])
        if users:
            file.error("user is in neither events nor profiles", batch, unknown[code])
        if time in columns:
            again = _repeats(code, integers(batch.column(time)))
            file.error(f"second row of a user_id and {time}", batch, again)


def _repeats(*keys: Int64) -> Mask:
    """Rows whose keys all equal those of an earlier row."""
    order = np.lexsort(keys)
    again = np.zeros(len(order), np.bool_)
    again[order[1:]] = np.logical_and.reduce([key[order[1:]] == key[order[:-1]] for key in keys])
    return again
