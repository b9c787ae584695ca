"""Questions about Arrow types and columns, answered a whole column at a time."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from pragmatiq_triton.batch import cu_seqlens
from pragmatiq_triton.time_range import LIVES, NANOSECONDS, PLAUSIBLE, TimeRange, date_of, odd_milestones, units_of

Mask = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_INT64 = np.iinfo(np.int64)


def is_string(kind: pa.DataType) -> bool:
    """Any of Arrow's string types."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Any of Arrow's types of bytes."""
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind))


def is_any_list(kind: pa.DataType) -> bool:
    """Whether this is a list, in any of Arrow's encodings; a map is not."""
    return bool(
        pt.is_list(kind)
        or pt.is_large_list(kind)
        or pt.is_fixed_size_list(kind)
        or pt.is_list_view(kind)
        or pt.is_large_list_view(kind)
    )


def holds_dictionary(kind: pa.DataType) -> bool:
    """Whether a nested type has a dictionary somewhere inside."""
    return pt.is_nested(kind) and any(
        pt.is_dictionary(inner) or holds_dictionary(inner)
        for inner in (kind.field(i).type for i in range(kind.num_fields))
    )


def to_mask(array: pa.Array) -> Mask:
    """A boolean array as NumPy's, null as False."""
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def null_mask(array: pa.Array) -> Mask:
    """Where a column is null, bool [n]."""
    return to_mask(array.is_null()) if array.null_count else np.zeros(len(array), np.bool_)


def integers(array: pa.Array) -> Int64:
    """Timestamps as stored, null as 0."""
    return np.asarray(array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def microseconds(array: pa.Array) -> Int64:
    """Timestamps of any unit as microseconds, null as 0; none beyond what :func:`time_problems` allows."""
    return integers(array.cast(pa.timestamp("us", array.type.tz), safe=False))


def time_problems(array: pa.Array, times: TimeRange = PLAUSIBLE) -> dict[str, Mask]:
    """What is wrong with timestamps, and where: those that are null, or not plausible by the unit they look like."""
    ts, nulls = integers(array), null_mask(array)
    nanoseconds = NANOSECONDS[array.type.unit]
    # Bounds in the column's unit: as microseconds its times might not fit into 64 bits.
    earliest, latest = -(-times.earliest * 1_000 // nanoseconds), (times.latest * 1_000 + 999) // nanoseconds
    problems = {"is null": nulls}
    for bound, wrong in (
        (f"is before {date_of(times.earliest)}", ~nulls & (ts < max(earliest, _INT64.min))),
        (f"is after {date_of(times.latest)}", ~nulls & (ts > min(latest, _INT64.max))),
    ):
        problems |= _by_unit(bound, wrong, array, times)
    return problems


def moment_problems(array: pa.Array, times: TimeRange = PLAUSIBLE) -> dict[str, Mask]:
    """:func:`time_problems` of ``as_of``, which may be unset."""
    # Null, or the 0 that stands for it in a record.
    unset = integers(array) == 0
    return {what: rows & ~unset for what, rows in time_problems(array, times).items()}


def milestone_problems(array: pa.Array) -> dict[str, Mask]:
    """:func:`time_problems` of milestones, which may lie long before 1970."""
    problems = time_problems(array, LIVES)
    fine = ~np.logical_or.reduce(list(problems.values()))
    odd = np.zeros(len(array), np.bool_)
    odd[fine] = odd_milestones(microseconds(array.filter(pa.array(fine))))
    return problems | _by_unit("is in the weeks around 1970-01-01", odd, array, LIVES)


def _by_unit(problem: str, wrong: Mask, array: pa.Array, times: TimeRange) -> dict[str, Mask]:
    """The ``problem`` apart for each unit that those which have it look like."""
    places = np.flatnonzero(wrong)
    units = units_of(integers(array)[places], array.type.unit, times)
    found = {}
    for unit in sorted(set(units)):
        rows = np.zeros(len(wrong), np.bool_)
        rows[places[units == unit]] = True
        found[f"{problem}; it looks like {unit}" if unit else problem] = rows
    return found


def encode(array: pa.Array) -> tuple[Int64, list[str | None]]:
    """Strings as indices into the list of the distinct ones, the last of which is None and stands for null."""
    encoded = array.dictionary_encode()
    names: list[str | None] = [*encoded.dictionary.to_pylist(), None]
    indices = encoded.indices.fill_null(len(names) - 1)
    return np.asarray(indices.to_numpy(zero_copy_only=False), np.int64), names


def count_values(array: pa.Array) -> Counter[str]:
    """How often each string occurs, nulls left out."""
    code, names = encode(array)
    counts = np.bincount(code, minlength=len(names)).tolist()
    return Counter({name: n for name, n in zip(names, counts, strict=True) if name is not None and n})


def list_parts(lists: pa.Array) -> tuple[Int64, pa.Array]:
    """A list column of any encoding as its lengths int64 [n], null as 0, and its elements end to end."""
    lengths = pc.list_value_length(lists).fill_null(0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64), lists.flatten()


def map_parts(maps: pa.MapArray) -> tuple[Int64, pa.Array, pa.Array]:
    """A map column as its lengths int64 [n], null as 0, and its keys and values end to end."""
    offsets = np.asarray(maps.offsets.to_numpy(zero_copy_only=False), np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    return np.diff(offsets), maps.keys.slice(first, last - first), maps.items.slice(first, last - first)


def rows_of_elements(lengths: Int64, mask: Mask) -> Mask:
    """The rows of a list column of these lengths that have an element where ``mask`` is True."""
    return np.asarray(np.diff(cu_seqlens(mask.astype(np.int64))[cu_seqlens(lengths)]) > 0)
