"""Raw data as the JSON records that a service sends: for scoring files, samples and tests."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw import EventChunk, ProfileChunk, check_columns, check_users, read_events, read_profiles
from pragmatiq_builder.writing import whole_file
from pragmatiq_triton.batch import cu_seqlens
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange

RecordDict = dict[str, Any]


def read_records(data: Path, times: TimeRange = PLAUSIBLE) -> Iterator[RecordDict]:
    """Each user as one record, those who only have a profile after the others; profiles stay in memory.

    Raises :class:`~pragmatiq_triton.errors.DataError` for times that are not among the plausible ``times``.
    """
    check_columns(data)
    profiles = {user_id: profile for chunk in read_profiles(data, times=times) for user_id, profile in _profiles(chunk)}
    with_events, with_profile = set[str](), {*profiles}
    for chunk in read_events(data, times=times):
        for user_id, events in _histories(chunk):
            if with_profile:
                with_events.add(user_id)
            yield {"user_id": user_id, "events": events, **profiles.pop(user_id, {})}
    check_users(data, with_events, with_profile)
    for user_id, profile in profiles.items():
        yield {"user_id": user_id, "events": [], **profile}


def write_records(
    data: Path, out: Path, users: int | None = None, progress: Progress = Silent(), times: TimeRange = PLAUSIBLE
) -> int:
    """Write the first ``users`` records as JSON lines; returns how many there were.

    An older file stays until the new one is complete. Raises :class:`OutputError` where it cannot be written.
    """
    n_records, replaced = 0, out.is_file()
    progress.stage("Writing records", users)
    with whole_file(out) as file:
        for record in islice(read_records(data, times), users):
            file.write(msgspec.json.encode(record) + b"\n")
            n_records += 1
            progress.advance(1)
    if replaced:
        progress.say(f"replaced: {out}")
    return n_records


def _histories(chunk: EventChunk) -> Iterator[tuple[str, list[RecordDict]]]:
    ts, sources = chunk.ts.tolist(), chunk.sources.to_pylist()
    pairs = list(zip(chunk.keys.to_pylist(), chunk.values.to_pylist(), strict=True))
    fields = cu_seqlens(chunk.field_counts).tolist()
    events = [
        {"ts": ts[i], "source": sources[i], "fields": dict(pairs[fields[i] : fields[i + 1]])} for i in range(len(ts))
    ]
    users = cu_seqlens(chunk.event_counts).tolist()
    for i, user_id in enumerate(chunk.user_ids):
        yield user_id, events[users[i] : users[i + 1]]


def _profiles(chunk: ProfileChunk) -> Iterator[tuple[str, RecordDict]]:
    attributes = list(zip(chunk.attribute_keys.to_pylist(), chunk.attribute_values.to_pylist(), strict=True))
    milestones = [
        {"key": key, "ts": ts}
        for key, ts in zip(chunk.milestone_keys.to_pylist(), chunk.milestone_ts.tolist(), strict=True)
    ]
    a, m = cu_seqlens(chunk.attribute_counts).tolist(), cu_seqlens(chunk.milestone_counts).tolist()
    for i, user_id in enumerate(chunk.user_ids):
        profile = {"attributes": dict(attributes[a[i] : a[i + 1]]), "lifelong": milestones[m[i] : m[i + 1]]}
        yield user_id, {**profile, "as_of": int(chunk.as_of[i])}
