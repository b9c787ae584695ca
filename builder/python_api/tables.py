"""Data frames and Arrow tables as records, one mapping for each customer, without importing what made them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pragmatiq_triton.errors import DataError

_OF_EVENT = ("user_id", "ts", "source")
_OF_RECORD = ("user_id", "events", "attributes", "lifelong", "as_of", "eval_ts")
_OF_PROFILE = ("lifelong", "as_of", "eval_ts", "attributes")

Row = dict[str, Any]


def is_table(value: Any) -> bool:
    """Whether ``value`` is a frame of pandas or polars, or an Arrow table."""
    return any(hasattr(value, name) for name in ("columns", "column_names")) and not isinstance(value, Mapping)


def records_of(table: Any, profiles: Any = None) -> list[Row]:
    """The customers of ``table`` as records, in the order in which they first appear.

    With a column ``events`` a row is a customer, and its columns are a record's members. With a column ``ts`` a row is
    an event: ``user_id``, ``ts``, ``source`` and then either ``fields``, a mapping, or one column for each field. A
    null in such a column means that the event has no such field. ``profiles`` has a row for each customer:
    ``user_id``, optionally ``as_of``, ``eval_ts``, ``lifelong`` and ``attributes``; every other column is an attribute.

    Raises :class:`DataError` that names a column which is missing or not expected, and a customer who is there twice.
    """
    names = _names(table)
    if "events" in names:
        if profiles is not None:
            raise DataError("profiles: a table with a row for each customer holds them; leave the argument out")
        _require(names, ("user_id", "events"), "a table of customers")
        unknown = [name for name in names if name not in _OF_RECORD]
        if unknown:
            raise DataError(f"a table of customers: unknown columns {', '.join(unknown)}; {_listed(_OF_RECORD)}")
        return [{name: value for name, value in row.items() if not is_missing(value)} for row in _rows(table)]
    _require(names, _OF_EVENT, "a table of events")
    records: dict[Any, Row] = {}
    for row in _rows(table):
        user = row.pop("user_id")
        event = {"ts": row.pop("ts"), "source": row.pop("source")}
        event["fields"] = row["fields"] if "fields" in names else _present(row)
        records.setdefault(user, {"user_id": user, "events": []})["events"].append(event)
    if "fields" in names and (others := [name for name in names if name not in (*_OF_EVENT, "fields")]):
        raise DataError(f"a table of events: the column fields leaves no room for {', '.join(others)}; drop one kind")
    if profiles is not None:
        _add_profiles(records, profiles)
    return [*records.values()]


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or pandas' NaT and NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _add_profiles(records: dict[Any, Row], profiles: Any) -> None:
    _require(_names(profiles), ("user_id",), "profiles")
    seen = set()
    for row in _rows(profiles):
        user = row.pop("user_id")
        if user in seen:
            raise DataError(f"profiles: user_id {user!r:.80} is in two rows, expected one for each customer")
        seen.add(user)
        record = records.setdefault(user, {"user_id": user, "events": []})
        given = {name: row.pop(name) for name in _OF_PROFILE if name in row}
        record.update({name: value for name, value in given.items() if not is_missing(value)})
        if attributes := _present(row):
            record["attributes"] = {**(record.get("attributes") or {}), **attributes}


def _present(row: Row) -> Row:
    return {name: value for name, value in row.items() if not is_missing(value)}


def _names(table: Any) -> list[str]:
    return [str(name) for name in (table.column_names if hasattr(table, "column_names") else table.columns)]


def _rows(table: Any) -> list[Row]:
    """Each row as a mapping: polars says ``to_dicts``, Arrow ``to_pylist``, pandas ``to_dict("records")``."""
    if hasattr(table, "to_dicts"):
        rows = table.to_dicts()
    elif hasattr(table, "to_pylist"):
        # Arrow's maps are lists of pairs in Python.
        rows = [{name: _mapped(value) for name, value in row.items()} for row in table.to_pylist()]
    else:
        rows = table.to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _mapped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _mapped(inner) for name, inner in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            return dict(value)
        return [_mapped(inner) for inner in value]
    return value


def _require(names: Sequence[str], needed: Sequence[str], what: str) -> None:
    lacking = [name for name in needed if name not in names]
    if lacking:
        raise DataError(
            f"{what}: no column {', '.join(lacking)}; {_listed(needed)}, got {', '.join(names) or 'no columns'}"
        )


def _listed(names: Sequence[str]) -> str:
    return f"expected {', '.join(names)}"
