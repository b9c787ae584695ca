"""From columns of field values to tokens: the one place where a value becomes ids, for one record or a million."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Float32, Int32, Int64, Number, Token, cu_seqlens, ranges
from pragmatiq_triton.tokenizer.vocabulary import UNK, Vocabulary

SOURCE_KEY = "source"
"""The field that every event has: where it came from."""

LARGEST = float(np.finfo(np.float32).max)
"""Of a float32; a number beyond it counts as it."""


@dataclass(frozen=True, slots=True)
class FieldColumn:
    """All values of one key: ``values[inverse[i]]`` stands in the field number ``slots[i]``.

    ``slots`` int64 [n]; ``inverse`` int64 [n], or None where ``values[i]`` belongs to ``slots[i]``.
    """

    key: str
    slots: Int64
    values: Sequence[str]
    inverse: Int64 | None = None

    def spread(self, per_value: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """What was computed per value, laid out per slot."""
        return per_value if self.inverse is None else per_value[self.inverse]


@dataclass(slots=True)
class TextNumbering:
    """The distinct strings met so far, numbered in the order of their first appearance."""

    texts: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, values: Sequence[str]) -> Int64:
        """Each string's number, int64 [n]."""
        numbers = self._numbers
        for value in values:
            if value not in numbers:
                numbers[value] = len(self.texts)
                self.texts.append(value)
        return np.fromiter(map(numbers.__getitem__, values), np.int64, len(values))


class EncodedFields(NamedTuple):
    """``tokens`` int32 [n_tokens, 4] in field order, ``counts`` int64 [n_fields] tokens per field.

    ``unread`` int64 [n_fields]: characters of long texts of which no pieces were made, since they could not be used;
    ``numbers`` float32 [n_tokens]: what the value of a field of numbers says, whatever its tokens are; NaN elsewhere.
    """

    tokens: Int32
    counts: Int64
    numbers: Float32
    unread: Int64


def encode_fields(
    columns: Iterable[FieldColumn], n_fields: int, vocabulary: Vocabulary, texts: TextNumbering | None, most: int
) -> EncodedFields:
    """Encode fields. With ``texts`` a text value is one sentinel token that points into it, else its BPE pieces.

    ``most``: tokens that can be used of a value, for the events' or the profile's limit; more may come.
    """
    keys = np.full(n_fields, UNK, np.int64)
    values = np.full(n_fields, UNK, np.int64)
    text_numbers = np.full(n_fields, -1, np.int64)
    numbers = np.full(n_fields, np.nan, np.float32)
    counts = np.ones(n_fields, np.int64)
    unread = np.zeros(n_fields, np.int64)
    pieces: list[tuple[Int64, Int64, Int64, Int64]] = []
    for column in columns:
        kind = vocabulary.kind(column.key)
        if kind is None:
            continue
        keys[column.slots] = vocabulary.key_id(column.key)
        parsed = vocabulary.numbers(column.key, column.values)
        if parsed is not None:
            finite = np.where(np.isfinite(parsed), parsed.clip(-LARGEST, LARGEST), np.nan)
            numbers[column.slots] = column.spread(finite)
        if kind == "categorical":
            values[column.slots] = column.spread(vocabulary.categorical_ids(column.key, column.values))
        elif kind == "numeric":
            assert parsed is not None
            values[column.slots] = column.spread(vocabulary.numeric_ids(column.key, parsed))
        elif texts is not None:
            text_numbers[column.slots] = column.spread(texts.number(column.values))
        else:
            ids, offsets, not_read = vocabulary.piece_ids(column.values, most)
            unread[column.slots] = column.spread(not_read)
            lengths = column.spread(np.diff(offsets))
            counts[column.slots] = np.maximum(lengths, 1)
            pieces.append((column.slots, ids, column.spread(offsets[:-1]), lengths))

    starts = cu_seqlens(counts)
    tokens = np.empty((int(starts[-1]), 4), np.int32)
    tokens[:, Token.KEY] = np.repeat(keys, counts)
    tokens[:, Token.VALUE] = np.repeat(values, counts)
    tokens[:, Token.POSITION] = ranges(np.zeros_like(counts), counts)
    tokens[:, Token.TEXT] = np.repeat(text_numbers, counts)
    for slots, ids, piece_starts, lengths in pieces:
        tokens[ranges(starts[slots], lengths), Token.VALUE] = ids[ranges(piece_starts, lengths)]
    return EncodedFields(tokens, counts, np.repeat(numbers, counts), unread)


def cut_tails(lengths: Int64, most: int) -> tuple[Int64 | slice, Int64]:
    """The first ``most`` tokens of each sequence: which rows to keep, and the lengths that remain, int64 [n]."""
    if not len(lengths) or lengths.max() <= most:
        return slice(None), lengths
    kept = np.minimum(lengths, most)
    return ranges(cu_seqlens(lengths)[:-1], kept), kept


def group_values(pairs: Iterable[tuple[str, str]], kind: Callable[[str], object]) -> tuple[list[FieldColumn], int]:
    """Sort fields into columns by key; a field's slot is its place in ``pairs``.

    A key of no ``kind`` has no column: a record may hold any number of them.
    """
    slots: dict[str, list[int]] = {}
    values: dict[str, list[str]] = {}
    n_fields = 0
    for key, value in pairs:
        if key in slots:
            slots[key].append(n_fields)
            values[key].append(value)
        elif kind(key) is not None:
            slots[key], values[key] = [n_fields], [value]
        n_fields += 1
    return [FieldColumn(key, np.asarray(slots[key], np.int64), values[key]) for key in slots], n_fields
