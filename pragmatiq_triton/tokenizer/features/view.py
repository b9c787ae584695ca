"""A history as the families of features read it: which value each event has of each field of words."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Int64, Token
from pragmatiq_triton.tokenizer.assemble import EncodedRecord, reference_time
from pragmatiq_triton.tokenizer.times import MICROSECONDS, log_seconds
from pragmatiq_triton.tokenizer.vocabulary import Vocabulary

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

MISSING = -1
HOUR = 3_600 * MICROSECONDS
DAY = 24 * HOUR
MOST_FIELDS = 40
"""Fields of words that are read, in the order of their names; each has about twenty columns."""
_MIX = 6_364_136_223_846_793_005
"""An odd multiplier: pieces of a text are told apart by the sum of their ids times its powers."""


def lasting(elapsed_us: npt.ArrayLike) -> Float64:
    """Durations in log-seconds, NaN where unknown; what lies in the future is now."""
    elapsed = np.asarray(elapsed_us, np.float64)
    return np.asarray(log_seconds(np.maximum(elapsed, 0)), np.float64)


def settled(values: Float64) -> Float64:
    """Numbers of about 1 without their last digits, which differ from one NumPy and processor to the next.

    Where such a number ought to be 0 or equal to another, its last digits are all that a tree could split on, and the
    server's would fall on the other side.
    """
    return np.asarray(np.round(values, 6) + 0.0, np.float64)


@dataclass(frozen=True, slots=True)
class WordFields:
    """The fields of events whose values are words: categories, and texts.

    ``names`` in alphabetical order, ``key_ids`` int64 [n_fields]; ``first_ids`` int64 [n_fields] is the id of a
    category's most frequent value, and ``n_values`` how many there are: ids follow one another by how often values came
    in training. Both are 0 of a text.
    """

    names: tuple[str, ...]
    key_ids: Int64
    first_ids: Int64
    n_values: Int64

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "WordFields":
        """The first :data:`MOST_FIELDS` of those that ``vocabulary`` knows."""
        kinds = ((key, vocabulary.kind(key)) for key in sorted(vocabulary.state["key_vocab"]))
        names = [key for key, kind in kinds if kind in ("categorical", "text")][:MOST_FIELDS]
        values = [list(vocabulary.state["cat_vocab"].get(key, {}).values()) for key in names]
        return cls(
            tuple(names),
            np.asarray([vocabulary.key_id(key) for key in names], np.int64),
            np.asarray([min(ids, default=0) for ids in values], np.int64),
            np.asarray([len(ids) for ids in values], np.int64),
        )

    @property
    def is_text(self) -> Bool:
        found: Bool = self.n_values == 0
        return found


class HistoryView:
    """One record's events, oldest first, ``ts`` int64 [n], judged at ``at``; times in microseconds."""

    def __init__(self, record: EncodedRecord, words: WordFields) -> None:
        self.record = record
        self.words = words
        self.ts = record.event_ts
        self.at = reference_time(record)
        self.n = len(self.ts)

    @cached_property
    def values(self) -> tuple[Int64, Int64]:
        """Which value each event has of the fields of words that some event has.

        The numbers of these fields, int64 [n_present], and their values, int64 [n, n_present]: of a category the
        value's id, of a text a number that equal texts share; ``MISSING`` without the field.
        """
        tokens = self.record.tokens
        if not len(tokens) or not len(self.words.names):
            return np.zeros(0, np.int64), np.zeros((self.n, 0), np.int64)
        column_of = np.full(int(max(self.words.key_ids.max(), tokens[:, Token.KEY].max())) + 1, MISSING, np.int64)
        column_of[self.words.key_ids] = np.arange(len(self.words.key_ids))
        # A field begins at position 0; only a text in pieces has more tokens.
        firsts = np.flatnonzero(tokens[:, Token.POSITION] == 0)
        columns = column_of[tokens[firsts, Token.KEY]]
        known = columns != MISSING
        columns, values = columns[known], self._identities(firsts)[known]
        event_of = np.repeat(np.arange(self.n), self.record.event_lengths)[firsts[known]]
        is_present = np.zeros(len(self.words.names), bool)
        is_present[columns] = True
        present = np.flatnonzero(is_present)
        # Column by column in memory: every family looks along the events of a field.
        table = np.full((self.n, len(present)), MISSING, np.int64, order="F")
        table[event_of, (np.cumsum(is_present) - 1)[columns]] = values
        return present, table

    def _identities(self, firsts: Int64) -> Int64:
        """A number of each field that begins at the token ``firsts``, which equal values of it share."""
        tokens = self.record.tokens
        if len(firsts) == len(tokens):
            found = tokens[:, Token.VALUE].astype(np.int64)
        else:
            powers = np.cumprod(np.full(int(tokens[:, Token.POSITION].max()) + 1, _MIX, np.uint64))
            mixed = tokens[:, Token.VALUE].astype(np.uint64) * powers[tokens[:, Token.POSITION]]
            sums = np.add.reduceat(mixed, firsts)
            alone = np.diff(np.append(firsts, len(tokens))) == 1
            found = np.where(alone, tokens[firsts, Token.VALUE], (sums >> np.uint64(2)).astype(np.int64))
        texts = tokens[firsts, Token.TEXT]
        return np.where(texts >= 0, texts, found).astype(np.int64)

    def since(self, days: int) -> int:
        """The number of events that lie ``days`` or more before the moment of judgement."""
        return int(np.searchsorted(self.ts, self.at - days * DAY, side="right"))
