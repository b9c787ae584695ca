"""Profiles of the raw contract as chunks."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pragmatiq_builder.raw.arrays import (
    Mask,
    microseconds,
    milestone_problems,
    moment_problems,
    null_mask,
    rows_of_elements,
)
from pragmatiq_builder.raw.columns import Column, column_of, read_text, stored, usable_columns
from pragmatiq_builder.raw.events import CHUNK_ROWS
from pragmatiq_builder.raw.findings import Findings, FirstError, Rows
from pragmatiq_builder.raw.pairs import MILESTONES, PAIRS, Pairs, milestones, named_texts
from pragmatiq_builder.raw.parts import Part, find_table, opened, read_rows
from pragmatiq_builder.raw.text import NAME, texts
from pragmatiq_builder.raw.times import FUTURE, TIME, in_future, timestamps
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange

COLUMNS = {
    "user_id": Column(lambda column: texts(column, scalars=False), NAME, in_partition=True),
    "as_of": Column(timestamps, TIME, required=False),
    "attributes": Column(named_texts, PAIRS, required=False),
    "lifelong": Column(milestones, MILESTONES, required=False),
}


@dataclass(frozen=True, slots=True)
class ProfileChunk:
    """Profiles of users: ``as_of`` int64 [n]; attributes and milestones as flat columns with their counts per user."""

    user_ids: list[str]
    as_of: Int64
    attribute_counts: Int64
    attribute_keys: pa.Array
    attribute_values: pa.Array
    milestone_counts: Int64
    milestone_keys: pa.Array
    milestone_ts: Int64


def read_profiles(
    data: Path, chunk_rows: int = CHUNK_ROWS, findings: Findings = FirstError(), times: TimeRange = PLAUSIBLE
) -> Iterator[ProfileChunk]:
    """Stream the profiles of a raw data folder; one without has none, and so has each column but ``user_id``.

    ``as_of`` is among the plausible ``times``, or 0 for unset.

    What breaks the contract goes to ``findings``, which raises :class:`DataError` unless it gathers; rows without a
    user are then left out.
    """
    table = find_table(data, "profiles")
    seen: set[str] = set()
    for part in table.parts if table else ():
        file = opened(part, findings)
        if file is None:
            continue
        with closing(file):
            usable = usable_columns(part, file, COLUMNS, findings)
            if "user_id" not in usable:
                continue
            for rows in read_rows(part, file, stored(part, file, usable), chunk_rows, findings):
                yield _chunk(part, rows, list(usable), findings, seen, times)


def _chunk(
    part: Part, rows: Rows, usable: list[str], findings: Findings, seen: set[str], times: TimeRange
) -> ProfileChunk:
    n = rows.batch.num_rows
    columns = {name: column_of(part, rows, name) for name in usable}
    users = read_text(rows, "user_id", columns["user_id"], findings)
    lacking = null_mask(users)
    findings.error(rows, "user_id is null", lacking)
    user_ids: list[str] = users.to_pylist()
    findings.error(rows, "second profile of a user; expected one row per user", _repeats(user_ids, seen))
    as_of = np.zeros(n, np.int64)
    if "as_of" in columns:
        moments = timestamps(columns["as_of"])
        for problem, wrong in moment_problems(moments, times).items():
            findings.error(rows, f"as_of {problem}", wrong)
        # Null is the newest event, as 0 is in a record.
        as_of = microseconds(moments)
        findings.warn(rows, f"as_of {FUTURE}", in_future(as_of))
    attributes = named_texts(columns.get("attributes", pa.nulls(n)))
    lifelong = milestones(columns.get("lifelong", pa.nulls(n)))
    for name, pairs in (("attributes", attributes), ("lifelong", lifelong)):
        for problem, wrong in pairs.problems.items():
            findings.error(rows, f"{name} {problem}", wrong)
    _check_milestones(rows, lifelong, findings)
    return ProfileChunk(
        user_ids=user_ids,
        as_of=as_of,
        attribute_counts=attributes.counts,
        attribute_keys=attributes.keys,
        attribute_values=attributes.values.fill_null(""),
        milestone_counts=lifelong.counts,
        milestone_keys=lifelong.keys,
        milestone_ts=microseconds(lifelong.values),
    )


def _check_milestones(rows: Rows, lifelong: Pairs, findings: Findings) -> None:
    for problem, wrong in milestone_problems(lifelong.values).items():
        findings.error(rows, f"a lifelong ts {problem}", rows_of_elements(lifelong.counts, wrong))


def _repeats(user_ids: list[str], seen: set[str]) -> Mask:
    """The rows of users who are in ``seen``, where the others are added."""
    again = np.zeros(len(user_ids), np.bool_)
    for row, user_id in enumerate(user_ids):
        if user_id is not None:
            again[row] = user_id in seen
            seen.add(user_id)
    return again
