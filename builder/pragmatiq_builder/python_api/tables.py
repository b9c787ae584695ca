"""Data frames and Arrow tables as records, one mapping for each customer, without importing what made them."""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pragmatiq_client.values import UnreadableValueError, user_id_text
from pragmatiq_triton.errors import DataError

_OF_EVENT = ("user_id", "ts", "source")
_OF_RECORD = ("user_id", "events", "attributes", "lifelong", "as_of", "eval_ts", "features")
_OF_PROFILE = ("lifelong", "as_of", "eval_ts", "attributes", "features")
_IDS = ("event_id",)
"""Columns of raw data that a record does not have."""
_MOMENTS = ("ts", "as_of", "eval_ts")
_OF_MOMENTS = ("events", "lifelong")
_READERS = ("to_dicts", "to_pylist", "to_dict")
_IN_EVENT = re.compile(r"\$\.events\[(\d+)\](?:\.fields\.|\.)([^.\s:]+|'[^']*'): (.*)", re.DOTALL)
_STACK = 5
"""From the warning to the caller of the model."""

Row = dict[str, Any]


@dataclass
class Customers:
    """Records of a table; ``rows`` are those of each one's events, or of a table of customers the customer's own."""

    records: list[Row] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    has_events: bool = True

    def told(self, number: int, problem: str) -> str:
        """What is wrong with a record, by the row and the column of the table."""
        rows, user = self.rows[number], self.records[number].get("user_id")
        if self.has_events and (found := _IN_EVENT.match(problem)):
            at, column, what = found.groups()
            return f"row {rows[int(at)]} (user_id {user!r:.80}), column {column}: {what}"
        return f"{f'row {rows[0]}' if rows else 'profiles'} (user_id {user!r:.80}): {problem}"


def is_table(value: Any) -> bool:
    """Whether ``value`` is a frame of pandas or polars, or an Arrow table."""
    if _is_lazy(value):
        return True
    return any(hasattr(value, name) for name in ("columns", "column_names")) and not isinstance(value, Mapping)


def customers_of(table: Any, profiles: Any = None) -> Customers:
    """The customers of ``table`` as records, in the order in which they first appear.

    With a column ``events`` a row is a customer, and its columns are a record's members. With a column ``ts`` a row is
    an event: ``user_id``, ``ts``, ``source`` and then either ``fields``, a mapping, or one column for each field. A
    null in such a column means that the event has no such field. ``profiles`` has a row for each customer:
    ``user_id``, optionally ``as_of``, ``eval_ts``, ``lifelong``, ``attributes`` and ``features``; every other
    column is an attribute.
    An id is the same as a number and as text, as on the wire; ids that differ in their spelling alone are different
    customers, of whom a warning tells. A time without a zone is of UTC, as it is in raw data.

    Raises :class:`DataError` that names a column which is missing, not expected or there twice, a row without a
    customer, and a customer who is there twice.
    """
    names = _names(table, "a table")
    if "events" in names:
        if profiles is not None:
            raise DataError("profiles: a table with a row for each customer holds them; leave the argument out")
        _require(table, names, ("user_id", "events"), "a table of customers")
        unknown = [name for name in names if name not in _OF_RECORD]
        if unknown:
            raise DataError(f"a table of customers: unknown columns {', '.join(unknown)}; {_listed(_OF_RECORD)}")
        found = [{name: value for name, value in row.items() if not is_missing(value)} for row in _rows(table)]
        _warn_of_spellings([str(row["user_id"]) for row in found if "user_id" in row])
        return Customers(found, [[at] for at in range(len(found))], has_events=False)
    _require(table, names, _OF_EVENT, "a table of events")
    others = [name for name in names if name not in (*_OF_EVENT, "fields", *_IDS)]
    if "fields" in names and others:
        raise DataError(f"a table of events: the column fields leaves no room for {', '.join(others)}; drop one kind")
    customers, places = Customers(), dict[str, int]()
    for at, row in enumerate(_rows(table)):
        user = row.pop("user_id")
        event = {"ts": row.pop("ts"), "source": row.pop("source")}
        event["fields"] = row["fields"] if "fields" in names else _present(row)
        place = _place(customers, places, user, f"row {at}")
        customers.records[place]["events"].append(event)
        customers.rows[place].append(at)
    _warn_of_spellings(places)
    if profiles is not None:
        _add_profiles(customers, places, profiles)
    return customers


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or pandas' NaT and NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _place(customers: Customers, places: dict[str, int], user: Any, where: str) -> int:
    """Which record is the customer's; a new one if there is none."""
    try:
        written = user_id_text(user, "column user_id")
    except UnreadableValueError as error:
        raise DataError(f"{where}, {error}") from None
    if written not in places:
        places[written] = len(customers.records)
        customers.records.append({"user_id": user, "events": []})
        customers.rows.append([])
    return places[written]


def _add_profiles(customers: Customers, places: dict[str, int], profiles: Any) -> None:
    if not is_table(profiles):
        raise DataError(f"profiles: expected a frame of pandas or polars or an Arrow table, got {_kind(profiles)}")
    _require(profiles, _names(profiles, "profiles"), ("user_id",), "profiles")
    n_with_events = len(places)
    seen = set()
    for at, row in enumerate(_rows(profiles)):
        user = row.pop("user_id")
        place = _place(customers, places, user, f"profiles: row {at}")
        if place in seen:
            raise DataError(f"profiles: user_id {user!r:.80} is in two rows, expected one for each customer")
        seen.add(place)
        record = customers.records[place]
        given = {name: row.pop(name) for name in _OF_PROFILE if name in row}
        record.update({name: value for name, value in given.items() if not is_missing(value)})
        if attributes := _present(row):
            record["attributes"] = {**(record.get("attributes") or {}), **attributes}
    _warn_of_alike([*places][n_with_events:], [name for name, at in places.items() if at not in seen])


def _warn_of_alike(without_events: list[str], without_profile: list[str]) -> None:
    """Customers of both kinds may be the same ones, written otherwise."""
    if not without_events or not without_profile:
        return
    from pragmatiq_builder.raw.likeness import likeness

    if alike := likeness(without_events, without_profile):
        warnings.warn(f"profiles: customers without events{alike}", stacklevel=_STACK)


def _warn_of_spellings(names: Iterable[str]) -> None:
    """Ids of one column that differ in leading zeros, a ``.0``, spaces or capitals alone may be of one customer."""
    from pragmatiq_builder.raw.likeness import plainest

    spelled: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        spelled.setdefault(plainest(name), []).append(name)
    several = [each for each in spelled.values() if len(each) > 1]
    if several:
        one, other = several[0][:2]
        warnings.warn(
            f"column user_id: {len(several):,} customers may be written in several ways, such as {one!r} and "
            f"{other!r}: they are read as different ones; write them alike if they are one",
            stacklevel=_STACK - 1,
        )


def _present(row: Row) -> Row:
    return {name: value for name, value in row.items() if not is_missing(value)}


def _names(table: Any, what: str) -> list[str]:
    if _is_lazy(table):
        raise DataError(f"{what}: got a LazyFrame, which holds no rows yet; collect() it first")
    if not any(hasattr(table, reader) for reader in _READERS):
        raise DataError(f"{what}: expected a frame of pandas or polars or an Arrow table, got {_kind(table)}")
    names = [str(name) for name in (table.column_names if hasattr(table, "column_names") else table.columns)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{what}: the column {twice[0]!r} is there twice; rename or drop one")
    return names


def _rows(table: Any) -> Iterable[Row]:
    """Each row as a mapping: polars says ``to_dicts``, Arrow ``to_pylist``, pandas ``to_dict("records")``."""
    if hasattr(table, "to_dicts"):
        _refuse_nanoseconds(table)
        rows = table.to_dicts()
    else:
        rows = table.to_pylist() if hasattr(table, "to_pylist") else table.to_dict("records")
    return [{str(name): _in_utc(_mapped(value, f"row {at}, column {name}"), str(name)) for name, value in row.items()}
            for at, row in enumerate(rows)]  # fmt: skip


def _in_utc(value: Any, name: str) -> Any:
    """The value of the column ``name``, moments without a zone as UTC: raw data, which are a table too, have such."""
    if name in _MOMENTS and isinstance(value, datetime) and value.tzinfo is None and not is_missing(value):
        return value.replace(tzinfo=UTC)
    if name in _OF_MOMENTS and isinstance(value, list):
        return [
            {key: _in_utc(inner, str(key)) for key, inner in each.items()} if isinstance(each, dict) else each
            for each in value
        ]
    return value


def _refuse_nanoseconds(table: Any) -> None:
    """A polars moment becomes a datetime of Python's, which would cut it to microseconds."""
    schema = getattr(table, "schema", {})  # DuckDB's relations have none
    for name, kind in schema.items():
        if type(kind).__name__ == "Datetime" and kind.time_unit == "ns":
            odd = (table[name].dt.nanosecond() % 1000 != 0).arg_true().to_list()
            if odd:
                raise DataError(
                    f"row {odd[0]}, column {name}: expected whole microseconds; round it first, as "
                    "dt.truncate('1us') does"
                )


def _mapped(value: Any, where: str) -> Any:
    """Arrow's maps are lists of pairs in Python."""
    if isinstance(value, dict):
        return {name: _mapped(inner, where) for name, inner in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            found = dict(value)
            if len(found) < len(value):
                raise DataError(f"{where}: a key is in the map twice")
            return found
        return [_mapped(inner, where) for inner in value]
    return value


def _require(table: Any, names: Sequence[str], needed: Sequence[str], what: str) -> None:
    lacking = [name for name in needed if name not in names]
    if lacking:
        index = [name for name in lacking if name in (getattr(getattr(table, "index", None), "names", None) or ())]
        hint = f"; {', '.join(index)} is in the index, of which reset_index() makes a column" if index else ""
        raise DataError(
            f"{what}: no column {', '.join(lacking)}; {_listed(needed)}, got {', '.join(names) or 'no columns'}{hint}"
        )


def _listed(names: Sequence[str]) -> str:
    return f"expected {', '.join(names)}"


def _is_lazy(value: Any) -> bool:
    return type(value).__name__ == "LazyFrame"


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
