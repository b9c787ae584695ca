"""A record as JSON's own types: what Python, numpy and pandas hold is converted exactly, or named by its path."""

import enum
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np

from pragmatiq_client.moments import micros
from pragmatiq_client.records import Event, Milestone, Record

DEEPEST = 50
_PLAIN_NAME = re.compile(r"[^\s.\[\]]{1,80}")


class UnreadableValueError(ValueError):
    """A value that no JSON can stand for; ``path`` is where it is."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


def plain_record(record: Mapping[str, Any] | Record) -> dict[str, Any]:
    """The record in JSON's own types; members that the wire does not know are left to the server.

    Raises:
        UnreadableValueError: the first value that cannot be converted.
    """
    members = _mapping(record, "$")
    convert: dict[str, Callable[[Any, str], Any]] = {
        "user_id": user_id_text,
        "events": lambda value, path: _each(value, path, _event),
        "lifelong": lambda value, path: _each(value, path, _milestone),
        "attributes": _fields,
        "features": _features,
        "as_of": _moment,
        "eval_ts": _moment,
    }
    return {name: convert.get(name, _any)(value, _member("$", name)) for name, value in members.items()}


def _mapping(value: Any, path: str) -> dict[str, Any]:
    """As a dictionary with text for keys."""
    if isinstance(value, Record | Event | Milestone):
        return value.to_dict()
    if not isinstance(value, Mapping):
        raise UnreadableValueError(path, f"expected a mapping, got {_name(value)}")
    if type(value) is dict and all(type(key) is str and key.isascii() for key in value):
        return value
    members: dict[str, Any] = {}
    for key, member in value.items():
        name = _key(key, path)
        if name in members:
            raise UnreadableValueError(path, f"two keys are written as {name!r}")
        members[name] = member
    return members


def _key(key: Any, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return _text(str(key), path)
    if isinstance(key, int | np.integer | uuid.UUID) and not isinstance(key, bool):
        return str(key)
    raise UnreadableValueError(path, f"expected text for a key, got {_name(key)} {key!r:.80}")


def _member(path: str, name: str) -> str:
    return f"{path}.{name}" if _PLAIN_NAME.fullmatch(name) else f"{path}.{name[:80]!r}"


def _each(values: Any, path: str, convert: Callable[[Any, str], Any]) -> Any:
    if values is None:
        return None
    if isinstance(values, np.ndarray) or hasattr(values, "to_list"):
        values = values.tolist() if isinstance(values, np.ndarray) else values.to_list()
    if not isinstance(values, list | tuple):
        raise UnreadableValueError(path, f"expected a list, got {_name(values)}")
    return [convert(value, f"{path}[{i}]") for i, value in enumerate(values)]


def _event(event: Any, path: str) -> dict[str, Any]:
    return {
        name: value if type(value) is int else _EVENT.get(name, _any)(value, _member(path, name))
        for name, value in _mapping(event, path).items()
    }


def _milestone(milestone: Any, path: str) -> dict[str, Any]:
    members = _mapping(milestone, path)
    return {n: (_moment if n == "ts" else _any)(value, _member(path, n)) for n, value in members.items()}


def _fields(fields: Any, path: str) -> dict[str, Any] | None:
    if fields is None:
        return None
    return {
        name: value if _is_plain(value) else _scalar(value, _member(path, name))
        for name, value in _mapping(fields, path).items()
    }


def _features(features: Any, path: str) -> dict[str, Any] | None:
    if features is None:
        return None
    return {name: _feature(value, _member(path, name)) for name, value in _mapping(features, path).items()}


def _feature(value: Any, path: str) -> Any:
    """A number, a boolean or None; decimals as the floats that features are."""
    found = _scalar(value, path)
    if isinstance(value, Decimal) and found is not None:
        return float(value)
    if isinstance(found, str):
        raise UnreadableValueError(path, f"expected a number, a boolean or None, got {_name(value)} {value!r:.80}")
    return found


def _is_plain(value: Any) -> bool:
    """Whether it is JSON as it is; most values are, and need no path."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    return kind is int or kind is bool or value is None or (kind is float and math.isfinite(value))


def user_id_text(value: Any, path: str) -> str:
    """A customer's id as the wire has it; :class:`UnreadableValueError` for what has no one spelling."""
    if type(value) is str and value.isascii():
        return value
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str | bytes | uuid.UUID):
        return str(_scalar(value, path))
    if _is_missing(value):
        raise UnreadableValueError(
            path, f"expected text, a whole number or a UUID, got {_name(value)} (a missing value)"
        )
    problem = f"expected text, a whole number or a UUID, got {_name(value)} {value!r:.80}"
    if isinstance(value, float | np.floating):
        problem += ": ids that were read as floats have lost their spelling"
    raise UnreadableValueError(path, problem)


def _moment(value: Any, path: str) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    if _is_missing(value):
        raise UnreadableValueError(path, f"expected a moment, got {_name(value)} (a missing value)")
    if isinstance(value, date | np.datetime64):
        try:
            return micros(value)
        except ValueError as error:
            raise UnreadableValueError(path, str(error)) from error
    if isinstance(value, np.integer | int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < 2**53:
        return int(value)
    if isinstance(value, str):
        return _text(str(value), path)  # the server's to refuse, with its own words
    problem = f"expected a datetime with a time zone, a date or whole microseconds, got {_name(value)} {value!r:.80}"
    raise UnreadableValueError(path, problem)


_EVENT: dict[str, Callable[[Any, str], Any]] = {"ts": _moment, "fields": _fields}


def _any(value: Any, path: str, depth: int = 0) -> Any:
    """A value where the wire has no rule: containers are followed."""
    if depth > DEEPEST:
        raise UnreadableValueError(path[:200], f"nested more than {DEEPEST} levels deep, or within itself")
    if isinstance(value, Mapping):
        return {name: _any(inner, _member(path, name), depth + 1) for name, inner in _mapping(value, path).items()}
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        return _each(value, path, lambda inner, where: _any(inner, where, depth + 1))
    return _scalar(value, path)


def _scalar(value: Any, path: str) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if _is_missing(value):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str):
        return _text(str(value), path)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return _number(value, path)
    if isinstance(value, Decimal):
        if value.is_infinite():
            raise UnreadableValueError(path, "expected a finite number, got an infinite Decimal")
        return format(value, "f")
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UnreadableValueError(path, f"expected text in UTF-8, got bytes: {error.reason}") from error
    problem = "expected a string, number, boolean, null, date, time, Decimal, UUID or Enum of these"
    raise UnreadableValueError(path, f"{problem}, got {_name(value)} {value!r:.80}")


def _number(value: Any, path: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise UnreadableValueError(path, f"expected a finite number, got {number}")
    if isinstance(value, np.floating) and value != number:
        raise UnreadableValueError(path, f"expected a number of 64 bits at most, got {value!r}")
    return number


def _text(value: str, path: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnreadableValueError(
            path, f"expected text, got half a surrogate pair at character {error.start}"
        ) from error
    return value


def _is_missing(value: Any) -> bool:
    """None, NaN, NaT of numpy and pandas, pandas' NA."""
    if value is None:
        return True
    if isinstance(value, float | np.floating):
        return bool(value != value)
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return type(value).__name__ in ("NaTType", "NAType") and type(value).__module__.partition(".")[0] == "pandas"


def _name(value: Any) -> str:
    return (
        "None"
        if value is None
        else f"{'an' if type(value).__name__[0] in 'aeiouAEIOU' else 'a'} {type(value).__name__}"
    )


def to_json(record: Mapping[str, Any] | Record) -> bytes:
    """The record's JSON in UTF-8. What is JSON already is written as it is; the rest is converted first.

    Raises:
        UnreadableValueError: the first value that cannot be converted.
    """
    if isinstance(record, dict) and isinstance(record.get("user_id", ""), str):
        try:
            return _dump(record)
        except (TypeError, ValueError, RecursionError):
            pass  # the slow way mends it, or names what is wrong
    return _dump(plain_record(record))


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
