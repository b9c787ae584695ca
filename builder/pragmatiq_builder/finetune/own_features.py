"""The bank's own features of labelled rows: found by customer and moment, and checked against what a head reads."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pragmatiq_builder.finetune.labels import History, LabelledRows
from pragmatiq_builder.raw.own_features import FeatureTable, Key, read_feature_table
from pragmatiq_builder.raw.parts import table_hash
from pragmatiq_triton.errors import ConfigError, DataError


def with_own_features(rows: LabelledRows, path: Path, data: History) -> LabelledRows:
    """``rows`` with the features of the parquet file ``path``; a row that the file lacks has unknown ones, and is told.

    Raises :class:`DataError` if the file's moments are not those of the labels, if it has none of the rows, and if two
    events of one moment cannot be told apart in it.
    """
    table = read_feature_table(path, data.times)
    time = "eval_ts" if rows.kind == "user" else "ts"
    if table.time != time:
        raise DataError(f"{path}: has {table.time}, but the labels have {time}; expected the labels' moments")
    users = [data.user_ids[user] for user in rows.users.tolist()]
    keys = list(zip(users, rows.at.tolist(), _event_ids(rows, data), strict=True))
    values, found = table.find(keys)
    if not found.any():
        user, at = users[0], np.datetime64(int(rows.at[0]), "us")
        raise DataError(
            f"{path}: has none of the {len(users):,} labelled rows, of which the first is user_id {user!r:.80} at {at} "
            "UTC; expected the labels' user_id and moments, exactly"
        )
    if table.time == "ts":
        _require_events_apart(keys, table)
    return replace(rows, own=values, own_names=table.names, cautions=[*rows.cautions, *_cautions(table, values, found)])


def select_own_features(rows: LabelledRows, names: list[str], path: Path) -> LabelledRows:
    """``rows`` with the features ``names`` alone, in that order; :class:`DataError` where the file lacks one."""
    if lacking := [name for name in names if name not in rows.own_names]:
        raise DataError(
            f"{path}: no column {', '.join(lacking)}; the head was fitted with {', '.join(names)}, the file has "
            f"{', '.join(rows.own_names)}"
        )
    assert rows.own is not None
    columns = [rows.own_names.index(name) for name in names]
    unread = [name for name in rows.own_names if name not in names]
    told = [f"{path.name} has columns that the head does not read: {', '.join(unread)}."] if unread else []
    return replace(rows, own=rows.own[:, columns], own_names=tuple(names), cautions=[*rows.cautions, *told])


def provenance(rows: LabelledRows, path: Path | None) -> dict[str, Any]:
    """What a head's file says of its features."""
    if path is None:
        return {}
    return {"own_features": {"names": list(rows.own_names), "file": path.name, "sha256": table_hash(path)}}


def require_given(fitted_with: dict[str, Any] | None, path: Path | None, task: str) -> None:
    """Raise :class:`ConfigError` where a head reads features of the bank's own and there is no file, or the reverse."""
    if fitted_with and path is None:
        raise ConfigError(
            f"the head of {task} reads {', '.join(fitted_with['names'])}, features of your own from "
            f"{fitted_with['file']}; give --features FILE with these columns at the labels' moments"
        )
    if path is not None and not fitted_with:
        raise ConfigError(f"--features: the head of {task} was fitted without features of your own; leave it out")


def _event_ids(rows: LabelledRows, data: History) -> list[int]:
    if rows.events is None:
        return [0] * len(rows.users)
    pairs = zip(rows.users.tolist(), rows.events.tolist(), strict=True)
    return [int(data.event_ids(user)[event]) for user, event in pairs]


def _require_events_apart(keys: Sequence[Key], table: FeatureTable) -> None:
    """Two labelled events of one moment need an ``event_id`` each in the table, or one's numbers go to the other."""
    seen: set[tuple[str, int]] = set()
    for user, at, event_id in keys:
        if event_id and (user, at, event_id) in table.row_of:
            continue
        if (user, at) in seen:
            raise DataError(
                f"{table.path}: two labelled events of user_id {user!r:.80} are at {np.datetime64(at, 'us')} UTC; "
                "give the events' event_id, in the events and in this file"
            )
        seen.add((user, at))


def _cautions(table: FeatureTable, values: Any, found: Any) -> list[str]:
    told = []
    if n_without := int(np.count_nonzero(~found)):
        told.append(
            f"{n_without:,} of {len(found):,} labelled rows are not in {table.path.name}: these features of "
            "theirs are unknown."
        )
    empty = [name for name, known in zip(table.names, (~np.isnan(values)).any(axis=0), strict=True) if not known]
    if empty:
        told.append(f"{table.path.name}: no labelled row has a value of {', '.join(empty)}.")
    return told
