"""Columns as the raw contract's values: SQL that makes text of a value, and null of what it cannot read."""

import re
from dataclasses import dataclass

from pragmatiq_builder.ingest.settings import UNKNOWN, FieldColumn, LabelColumn
from pragmatiq_builder.ingest.sql import ident, text
from pragmatiq_triton.errors import ConfigError

POSITIVE = ("1", "1.0", "true", "t", "yes", "y")
NEGATIVE = ("0", "0.0", "false", "f", "no", "n")
_FLOATS = ("FLOAT", "DOUBLE")
WHOLE = "^(-?[0-9]+)[.]0+$"
"""A whole number that is written with a fraction of zeros."""


@dataclass(frozen=True)
class Check:
    """What makes a row a bad one: ``condition`` is SQL, ``column`` the table's column that is to blame."""

    condition: str
    reason: str
    column: str


@dataclass(frozen=True)
class Entry:
    """One field of an event or attribute of a profile: its name and SQL of its text, null if it is missing."""

    name: str
    sql: str


def user_text(column: str, kind: str, whole_number: bool) -> str:
    """The customer as text without spaces around it; null if the row names no customer.

    Whole numbers that a float column holds lose the ``.0`` that floats are written with.
    """
    if kind in _FLOATS:
        column = f"CASE WHEN {column} = floor({column}) AND abs({column}) < 9e15 THEN CAST({column} AS BIGINT) END"
    cleaned = f"trim(CAST({column} AS VARCHAR))"
    if whole_number:
        cleaned = f"regexp_replace({cleaned}, '[.]0+$', '')"
    return f"nullif({cleaned}, '')"


def plain_text(column: str, kind: str) -> str:
    """A value as text: empty text and numbers that are not finite are missing; lists and structs become JSON."""
    if kind in _FLOATS:
        return f"CASE WHEN isfinite({column}) THEN CAST({column} AS VARCHAR) END"
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return f"CAST(to_json({column}) AS VARCHAR)"
    return f"nullif(CAST({column} AS VARCHAR), '')"


def number_text(column: str, kind: str, field: FieldColumn) -> str:
    """A written number as text with a decimal point; null if the value is no number.

    A minus may stand behind, and parentheses mean one, as in bookkeeping. Groups of digits must be of three, so that
    ``12.50`` is no number where the point parts thousands: it would be read a hundredfold.
    """
    if kind != "VARCHAR":
        return plain_text(column, kind)
    value = f"trim({column})"
    point = _escaped(field.decimal or ".")
    fraction = rf"(?:{point}[0-9]*)?(?:[eE][+-]?[0-9]+)?"
    digits = r"[0-9]+"
    if field.thousands:
        digits = rf"(?:[0-9]{{1,3}}(?:{_group(field.thousands)}[0-9]{{3}})+|[0-9]+)"
    body = rf"(?:{digits}{fraction}|{point}[0-9]+)"
    pattern = rf"[+-]? ?{body}|{body} ?[+-]|[(]{body}[)]"
    bare = f"regexp_replace({value}, '[^0-9eE{field.decimal or '.'}+-]', '', 'g')"
    pointed = f"replace({bare}, ',', '.')"
    # A sign of an exponent stays where it is.
    unsigned = f"regexp_replace(regexp_replace({pointed}, '^[+-]', ''), '[+-]$', '')"
    is_negative = f"regexp_matches({value}, '^(-|[(])|-$')"
    signed = f"CASE WHEN {is_negative} THEN '-' || {unsigned} ELSE {unsigned} END"
    mark = field.decimal or "."
    usual = f"regexp_full_match({column}, {text(f'-?[0-9]+(?:[{mark}][0-9]*)?')})"
    return (
        f"CASE WHEN {usual} THEN replace({column}, {text(mark)}, '.') "
        f"WHEN regexp_full_match({value}, {text(pattern)}) THEN {signed} END"
    )


def is_written(column: str) -> str:
    """SQL: ``column`` holds something."""
    return f"nullif(trim(CAST({column} AS VARCHAR)), '') IS NOT NULL"


def label_class(column: str, label: LabelColumn, where: str) -> str:
    """1, 0, or null for what is neither.

    Raises ConfigError if one value is said to mean both.
    """
    positive, negative = (
        [re.sub(WHOLE, r"\1", str(value).strip().lower()) for value in values]
        for values in (label.positive, label.negative)
    )
    if both := sorted({*positive} & {*negative}):
        raise ConfigError(f"{where}: label: {both[0]!r} is among positive and negative")
    if UNKNOWN in (*positive, *negative):
        raise ConfigError(f"{where}: label: say in place of {UNKNOWN!r} which of its values mean 1 (or 0, in negative)")
    value = label_value(column)
    if not positive and not negative:
        positive, negative = list(POSITIVE), list(NEGATIVE)
    ones, zeros = (", ".join(map(text, values)) for values in (positive, negative))
    one = f"WHEN {value} IN ({ones}) THEN 1" if ones else ""
    zero = f"WHEN {value} IN ({zeros}) THEN 0" if zeros else ""
    # If only one of them is named, every other value means the other.
    rest = "" if ones and zeros else f"WHEN nullif({value}, '') IS NOT NULL THEN {0 if ones else 1}"
    return f"CAST(CASE {one} {zero} {rest} END AS TINYINT)"


def label_value(column: str) -> str:
    """SQL of a label as it is compared: without capitals, spaces around it, and the ``.0`` of a whole number."""
    return f"regexp_replace(lower(trim(CAST({column} AS VARCHAR))), {text(WHOLE)}, '\\1')"


def is_text(distinct: int, filled: int) -> bool:
    """Whether so many different values among ``filled`` are texts rather than categories."""
    return distinct > max(100, 0.05 * filled)


def map_of(entries: list[Entry], all_of: str | None) -> str:
    """SQL of MAP(VARCHAR, VARCHAR): ``entries`` that are not null, after those of the map ``all_of``."""
    own = _own_map(entries)
    if all_of is None:
        return own or "MAP {}"
    return f"map_concat({all_of}, {own})" if own else all_of


def _own_map(entries: list[Entry]) -> str:
    """Cast from a struct if nothing is missing, which takes a tenth of the time that filtered entries take."""
    if not entries:
        return ""
    pairs = ", ".join(f"{{'k': {text(entry.name)}, 'v': {entry.sql}}}" for entry in entries)
    filtered = f"map_from_entries(list_filter([{pairs}], lambda entry: entry.v IS NOT NULL))"
    if len({entry.name.lower() for entry in entries}) < len(entries):
        # To a struct A and a are one name.
        return filtered
    struct = ", ".join(f"{text(entry.name)}: {entry.sql}" for entry in entries)
    is_full = " AND ".join(f"{entry.sql} IS NOT NULL" for entry in entries)
    return f"CASE WHEN {is_full} THEN CAST({{{struct}}} AS MAP(VARCHAR, VARCHAR)) ELSE {filtered} END"


def map_of_column(column: str, kind: str, where: str) -> str:
    """A map, a struct or a list of key and value as MAP(VARCHAR, VARCHAR) without what is missing."""
    if kind.startswith("MAP("):
        entries = _entries(f"map_entries({column})", "e.key", "e.value")
    elif kind.startswith("STRUCT(") and not kind.endswith("[]"):
        as_json = f"to_json({column})"
        entries = _entries(f"json_keys({as_json})", "e", f"json_extract_string({as_json}, '$.\"' || e || '\"')")
    elif kind.startswith("STRUCT(") and kind.endswith(")[]"):
        key = next((name for name in ("key", "name") if f"{name} " in kind or f'"{name}"' in kind), "key")
        entries = _entries(column, f"e.{ident(key)}", 'e."value"')
    else:
        raise ConfigError(f"{where}: {kind} column; '*' is for a map, a struct or a list of key and value")
    filled = f"list_filter({entries}, lambda e: nullif(e.v, '') IS NOT NULL AND nullif(e.k, '') IS NOT NULL)"
    return f"coalesce(map_from_entries({filled}), MAP {{}})"


def _entries(listed: str, key: str, value: str) -> str:
    return f"list_transform({listed}, lambda e: {{'k': CAST({key} AS VARCHAR), 'v': CAST({value} AS VARCHAR)}})"


def _escaped(mark: str) -> str:
    return f"[{mark}]"


def _group(mark: str) -> str:
    # A space between groups is often one that does not break.
    return "[\u00a0\u202f ]" if mark == " " else "['\u2019]" if mark == "'" else _escaped(mark)
