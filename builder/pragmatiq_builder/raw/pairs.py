"""Columns of named values, in each layout that dictionaries get on their way into parquet."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from pragmatiq_builder.raw.arrays import (
    Int64,
    Mask,
    is_any_list,
    is_binary,
    is_string,
    list_parts,
    map_parts,
    null_mask,
    rows_of_elements,
)
from pragmatiq_builder.raw.text import SCALAR, UnreadableError, texts
from pragmatiq_builder.raw.times import timestamps
from pragmatiq_triton.batch import cu_seqlens

PAIRS = "a map, a struct, or a list of pairs of key and value"
MILESTONES = "a list of structs of key and ts, a map or a struct of timestamps"
_KEYS, _VALUES = ("key", "k", "name"), ("value", "val", "v")
_UNITS = ("s", "ms", "us", "ns")
_ODD_VALUE = "holds a value that is no UTF-8 text or no time of the years 1 to 9999"


@dataclass(slots=True)
class Pairs:
    """Named values of n rows, row by row: ``counts`` int64 [n], ``keys`` and ``values`` [sum of counts].

    ``problems``: what is wrong, and in which rows, bool [n].
    """

    counts: Int64
    keys: pa.Array
    values: pa.Array
    problems: dict[str, Mask] = field(default_factory=dict)

    def add(self, problem: str, elements: Mask) -> None:
        """A problem of the pairs where ``elements`` [sum of counts] is True."""
        if elements.any():
            self.problems[problem] = rows_of_elements(self.counts, elements)


def named_texts(column: pa.Array) -> Pairs:
    """A column of dictionaries as keys and values, both string; null is an empty one.

    A struct's members that are null are absent: where one row lacks a key, Arrow fills it in. Raises
    :class:`UnreadableError` for a type that is no such column.
    """
    column = _stored(column)
    if pt.is_struct(column.type):
        spelled = {name: _member(name, member) for name, member in _members(column, PAIRS).items()}
        pairs = _of_members({name: text for name, (text, _) in spelled.items()}, len(column))
        wrong = np.logical_or.reduce([bad for _, bad in spelled.values()], initial=False)
        if np.any(wrong):
            pairs.problems[_ODD_VALUE] = wrong
        return pairs
    layout = _pairs(column, PAIRS)
    try:
        layout.values, bad = texts(layout.values, scalars=True)
    except UnreadableError as error:
        raise UnreadableError(f"its values are {layout.values.type}; {error}") from None
    pairs = _with_text_keys(layout)
    pairs.add(_ODD_VALUE, bad)
    again = _repeated(pairs)
    if again.any():
        pairs.problems["holds a key twice"] = again
    return pairs


def milestones(column: pa.Array) -> Pairs:
    """A column of milestones as keys, string, and times, timestamps; null is none, a struct's null member too.

    Raises :class:`UnreadableError` for a type that is no such column.
    """
    column = _stored(column)
    kind = column.type
    if pt.is_struct(kind):
        times = {name: timestamps(member) for name, member in _members(column, MILESTONES).items()}
        finest = max((time.type.unit for time in times.values()), key=_UNITS.index, default="us")
        # A zone only says how a moment is shown.
        of_one_type = {
            name: time.cast(pa.timestamp(finest, time.type.tz)).cast(pa.timestamp(finest))
            for name, time in times.items()
        }
        return _of_members(of_one_type, len(column))
    if is_any_list(kind) and pt.is_struct(kind.value_type):
        counts, items = list_parts(column)
        members = _members(items, MILESTONES)
        if set(members) != {"key", "ts"}:
            raise UnreadableError(f"its structs have {', '.join(members) or 'no members'}; expected {MILESTONES}")
        layout = Pairs(counts, members["key"], members["ts"])
        layout.add("holds null in place of a milestone", null_mask(items))
    else:
        layout = _pairs(column, MILESTONES)
    layout.values = timestamps(layout.values)
    return _with_text_keys(layout)


def _stored(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _members(structs: pa.Array, expected: str) -> dict[str, pa.Array]:
    """The columns of a struct by their names, null where the struct is."""
    names = [structs.type.field(i).name for i in range(structs.type.num_fields)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UnreadableError(f"its member {twice[0]!r} is there twice; expected {expected}")
    return dict(zip(names, structs.flatten(), strict=True))


def _pairs(column: pa.Array, expected: str) -> Pairs:
    """A map or a list of pairs, its keys and values of any type."""
    kind = column.type
    if pt.is_null(kind):
        return Pairs(np.zeros(len(column), np.int64), pa.nulls(0, pa.string()), pa.nulls(0))
    if pt.is_map(kind):
        return Pairs(*map_parts(column))
    if not is_any_list(kind):
        raise UnreadableError(f"expected {expected}{_advice(kind)}")
    counts, items = list_parts(column)
    inner = items.type
    if pt.is_struct(inner):
        pairs = Pairs(counts, *_key_and_value(_members(items, expected), expected))
    elif is_any_list(inner):
        pairs = _of_lists(counts, items)
    elif pt.is_null(inner):
        pairs = Pairs(counts, pa.nulls(len(items), pa.string()), items)
    else:
        raise UnreadableError(f"expected {expected}")
    if items.null_count:
        pairs.problems["holds null in place of a pair"] = rows_of_elements(counts, null_mask(items))
    return pairs


def _advice(kind: pa.DataType) -> str:
    value = kind.value_type if pt.is_dictionary(kind) else kind
    if is_string(value) or is_binary(value):
        return "; of JSON text, in pandas: COLUMN.map(json.loads); of dictionaries: no astype(str)"
    return ""


def _key_and_value(members: dict[str, pa.Array], expected: str) -> tuple[pa.Array, pa.Array]:
    keys, values = [name for name in members if name in _KEYS], [name for name in members if name in _VALUES]
    if (len(keys), len(values), len(members)) != (1, 1, 2):
        raise UnreadableError(f"expected {expected}")
    return members[keys[0]], members[values[0]]


def _of_lists(counts: Int64, items: pa.Array) -> Pairs:
    """Lists of two elements; what is no pair is a problem and left out."""
    lengths, elements = list_parts(items)
    is_pair = lengths == 2
    starts = cu_seqlens(lengths)[:-1][is_pair]
    kept = np.diff(cu_seqlens(is_pair.astype(np.int64))[cu_seqlens(counts)])
    pairs = Pairs(kept, elements.take(pa.array(starts)), elements.take(pa.array(starts + 1)))
    odd = ~is_pair & ~null_mask(items)
    if odd.any():
        pairs.problems["holds a list that is no pair of key and value"] = rows_of_elements(counts, odd)
    return pairs


def _member(name: str, member: pa.Array) -> tuple[pa.Array, Mask]:
    try:
        return texts(member, scalars=True)
    except UnreadableError:
        raise UnreadableError(f"its member {name!r} is {member.type}; expected {SCALAR}") from None


def _of_members(members: dict[str, pa.Array], n_rows: int) -> Pairs:
    """A struct's members, of one type, row by row; nulls are left out."""
    if not members:
        return Pairs(np.zeros(n_rows, np.int64), pa.nulls(0, pa.string()), pa.nulls(0, pa.string()))
    present = np.stack([~null_mask(member) for member in members.values()], axis=1)
    rows, columns = np.nonzero(present)
    return Pairs(
        present.sum(axis=1).astype(np.int64),
        pa.array(list(members), pa.string()).take(pa.array(columns)),
        pa.concat_arrays(list(members.values())).take(pa.array(columns * n_rows + rows)),
    )


def _with_text_keys(pairs: Pairs) -> Pairs:
    try:
        keys, bad = texts(pairs.keys, scalars=False)
    except UnreadableError as error:
        raise UnreadableError(f"its keys are {pairs.keys.type}; {error}") from None
    pairs.keys = keys.fill_null("")
    pairs.add("holds a key that is null", null_mask(keys))
    pairs.add("holds a key that is no UTF-8 text", bad)
    return pairs


def _repeated(pairs: Pairs) -> Mask:
    """Rows that have a key twice; a JSON object cannot."""
    keys = pairs.keys.dictionary_encode()
    codes = keys.indices.to_numpy().astype(np.int64)
    at = np.repeat(np.arange(len(pairs.counts)), pairs.counts)
    both = np.sort(at * len(keys.dictionary) + codes)
    twice = both[1:][both[1:] == both[:-1]] // max(len(keys.dictionary), 1)
    rows = np.zeros(len(pairs.counts), np.bool_)
    rows[twice] = True
    return rows
