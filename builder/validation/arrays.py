"""Questions about Arrow types and columns, answered a whole column at a time."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from pragmatiq_triton.batch import cu_seqlens

Mask = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_YEAR_10000 = 253_402_300_800
_INT64_MAX = int(np.iinfo(np.int64).max)


def is_string(kind: pa.DataType) -> bool:
    """Any of Arrow's string types, dictionary-encoded or not."""
    value = kind.value_type if pt.is_dictionary(kind) else kind
    return bool(pt.is_string(value) or pt.is_large_string(value) or pt.is_string_view(value))


def is_timestamp(kind: pa.DataType) -> bool:
    return bool(pt.is_timestamp(kind))


def is_string_map(kind: pa.DataType) -> bool:
    return bool(pt.is_map(kind)) and is_string(kind.key_type) and is_string(kind.item_type)


def is_milestones(kind: pa.DataType) -> bool:
    """A list of structs with a string ``key`` and a timestamp ``ts``."""
    if not (pt.is_list(kind) or pt.is_large_list(kind)) or not pt.is_struct(kind.value_type):
        return False
    types = {child.name: child.type for child in kind.value_type}
    return "key" in types and is_string(types["key"]) and "ts" in types and is_timestamp(types["ts"])


def is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind))


def to_mask(array: pa.Array) -> Mask:
    """A boolean array as NumPy's, null as False."""
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def null_mask(array: pa.Array) -> Mask:
    return to_mask(array.is_null())


def integers(array: pa.Array) -> Int64:
    """Timestamps as stored, null as 0."""
    return np.asarray(array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def microseconds(array: pa.Array) -> Int64:
    """Timestamps of any unit as microseconds, null as 0; none beyond what :func:`time_problems` allows."""
    return integers(array.cast(pa.timestamp("us", array.type.tz), safe=False))


def time_problems(array: pa.Array) -> dict[str, Mask]:
    """What can be wrong with a timestamp, and where it is."""
    ts = integers(array)
    end = min(_YEAR_10000 * PER_SECOND[array.type.unit], _INT64_MAX)
    return {"is null": null_mask(array), "is before 1970": ts < 0, "is after the year 9999": ts >= end}


def encode(array: pa.Array) -> tuple[Int64, list[str | None]]:
    """Strings as indices into the list of the distinct ones, the last of which is None and stands for null."""
    plain = array.cast(array.type.value_type) if pt.is_dictionary(array.type) else array
    encoded = plain.dictionary_encode()
    names: list[str | None] = [*encoded.dictionary.to_pylist(), None]
    indices = encoded.indices.fill_null(len(names) - 1)
    return np.asarray(indices.to_numpy(zero_copy_only=False), np.int64), names


def count_values(array: pa.Array) -> Counter[str]:
    """How often each string occurs, nulls left out."""
    code, names = encode(array)
    counts = np.bincount(code, minlength=len(names)).tolist()
    return Counter({name: n for name, n in zip(names, counts, strict=True) if name is not None and n})


def children(array: pa.Array) -> dict[str, pa.Array]:
    """The columns inside a list of structs, or the ``key`` and ``value`` of a map, over all rows end to end."""
    first, last = _offsets(array)[[0, -1]]
    if pt.is_map(array.type):
        columns = {"key": array.keys, "value": array.items}
    else:
        names = [child.name for child in array.type.value_type]
        columns = dict(zip(names, array.values.flatten(), strict=True))
    return {name: column.slice(first, last - first) for name, column in columns.items()}


def rows_of_children(array: pa.Array, mask: Mask) -> Mask:
    """The rows of a list or map column that have a child where ``mask`` is True."""
    offsets = _offsets(array) - _offsets(array)[0]
    return np.asarray(np.diff(cu_seqlens(mask.astype(np.int64))[offsets]) > 0)


def _offsets(array: pa.Array) -> Int64:
    return np.asarray(array.offsets.to_numpy(zero_copy_only=False), np.int64)
