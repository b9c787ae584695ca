"""Arrow columns of any scalar type as the strings that the same values would be in a JSON record."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from pragmatiq_builder.raw.arrays import PER_SECOND, Mask, integers, is_binary, is_string, null_mask

NAME = "a string or an integer"
SCALAR = "a string, number, boolean, date or time"
_FIRST_YEAR, _YEAR_10000 = -62_135_596_800, 253_402_300_800


class UnreadableError(Exception):
    """A type that cannot be read; the message says what would be, and what to do."""


def texts(column: pa.Array, *, scalars: bool) -> tuple[pa.Array, Mask]:
    """A column as string [n], and where it is no UTF-8 or no time that can be written, bool [n]; it is empty there.

    Integers are written in decimal. With ``scalars`` also floats and booleans as Python writes them (``10.0``,
    ``True``), NaN as null; decimals in plain digits; dates and times in ISO 8601. Raises :class:`UnreadableError` for
    other types.
    """
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        if kind.extension_name != "arrow.uuid":
            return texts(column.storage, scalars=scalars)
        spelled = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.array(spelled, pa.string()), np.zeros(len(column), np.bool_)
    if pt.is_dictionary(kind):
        values, bad = texts(column.dictionary, scalars=scalars)
        at = column.indices
        return values.take(at), _taken(bad, at)
    if pt.is_null(kind):
        return pa.nulls(len(column), pa.string()), np.zeros(len(column), np.bool_)
    if is_string(kind):
        return _utf8(column if pt.is_string(kind) else column.cast(pa.string(), safe=False))
    if is_binary(kind):
        return _utf8(column.cast(pa.string(), safe=False))
    if pt.is_integer(kind):
        return column.cast(pa.string()), np.zeros(len(column), np.bool_)
    if pt.is_decimal(kind) and (scalars or kind.scale == 0):
        return _spelled(column, lambda value: format(value, "f"))
    if not scalars:
        raise UnreadableError(f"expected {NAME}{_advice(kind)}")
    if pt.is_floating(kind):
        return _spelled(column, _float_text if pt.is_float64(kind) else _small_float_text(kind))
    if pt.is_boolean(kind):
        return _spelled(column, str)
    if pt.is_date(kind) or pt.is_time(kind):
        return _spelled(column, lambda value: value.isoformat())
    if pt.is_timestamp(kind):
        return _moments(column)
    raise UnreadableError(f"expected {SCALAR}")


def _advice(kind: pa.DataType) -> str:
    if pt.is_floating(kind):
        return "; floats lose the last digits of long ids: in pandas, astype('Int64') before ids become float"
    return ""


def _spelled(column: pa.Array, spell: Callable[[Any], str | None]) -> tuple[pa.Array, Mask]:
    """Each distinct value is written once."""
    encoded = column.dictionary_encode()
    values = pa.array([spell(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return values.take(encoded.indices), np.zeros(len(column), np.bool_)


def _float_text(value: float) -> str | None:
    return None if value != value else repr(value)


def _small_float_text(kind: pa.DataType) -> Callable[[float], str | None]:
    """The shortest digits that give the same 32 or 16 bits: 12.99, not 12.989999771118164."""
    small = np.float32 if pt.is_float32(kind) else np.float16
    return lambda value: None if value != value else str(small(value))


def _moments(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Timestamps in ISO 8601, in their own zone; Python knows the years 1 to 9999."""
    stored, per_second = integers(column), PER_SECOND[column.type.unit]
    bad = np.zeros(len(column), np.bool_)
    if column.type.unit != "ns":
        # A day less: the zone may move a moment out of these years.
        bad = (stored < (_FIRST_YEAR + 86_400) * per_second) | (stored >= (_YEAR_10000 - 86_400) * per_second)
    column = pa.compute.if_else(pa.array(~bad), column, pa.scalar(None, column.type))
    text, _ = _spelled(column.cast(pa.timestamp("us", column.type.tz), safe=False), lambda value: value.isoformat())
    return text, bad


def _utf8(column: pa.Array) -> tuple[pa.Array, Mask]:
    bad = np.zeros(len(column), np.bool_)
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.cast(pa.binary()).to_pylist()
        bad[:] = [value is not None and not _decodes(value) for value in raw]
        column = pa.array(["" if wrong else value for value, wrong in zip(raw, bad.tolist(), strict=True)], pa.binary())
        column = column.cast(pa.string())
    return column, bad


def _decodes(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _taken(bad: Mask, at: pa.Array) -> Mask:
    if not bad.any():
        return np.zeros(len(at), np.bool_)
    return np.asarray(bad[at.fill_null(0).to_numpy(zero_copy_only=False)] & ~null_mask(at))
