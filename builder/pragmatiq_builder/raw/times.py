"""Columns of moments: timestamps of any unit and zone, and dates."""

import time

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from pragmatiq_builder.raw.arrays import Int64, Mask, is_string
from pragmatiq_builder.raw.text import UnreadableError

TIME = "a timestamp or a date"
FUTURE = "lies in the future; a tokenizer of these data takes such times for plausible"


def timestamps(column: pa.Array) -> pa.Array:
    """A column of moments as timestamps of its own unit; a date is its midnight, in UTC.

    Raises :class:`UnreadableError` for other types: a number does not tell its unit, nor a text its format.
    """
    kind = column.type
    if pt.is_dictionary(kind):
        return timestamps(column.dictionary).take(column.indices)
    if pt.is_timestamp(kind):
        return column
    if pt.is_date32(kind):
        return column.cast(pa.timestamp("s"))
    if pt.is_date64(kind):
        return column.cast(pa.timestamp("ms"))
    if pt.is_null(kind):
        return pa.nulls(len(column), pa.timestamp("us"))
    raise UnreadableError(f"expected {TIME}{_advice(kind)}")


def in_future(ts: Int64) -> Mask:
    """Which microseconds int64 [n] are still to come, bool [n]; a local time without a zone is not, by a day."""
    return np.asarray(ts > (time.time() + 86_400) * 1e6)


def _advice(kind: pa.DataType) -> str:
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
        return "; in pandas: pd.to_datetime(COLUMN, unit=...), with the unit that the numbers have"
    if is_string(kind):
        return "; in pandas: pd.to_datetime(COLUMN)"
    return ""
