"""Counting what each field of a data set holds and what becomes of it, while the data set is encoded."""

from collections.abc import Iterable

import numpy as np

from pragmatiq_builder.dataset.columns import CountedValues, EncodableEvents, EncodableProfiles, Part
from pragmatiq_builder.dataset.field_table import Field, FittedShares
from pragmatiq_triton.batch import Int64, Token, cu_seqlens
from pragmatiq_triton.tokenizer.config import TokenizerConfig
from pragmatiq_triton.tokenizer.fields import EncodedFields, FieldColumn
from pragmatiq_triton.tokenizer.values import is_plain_number
from pragmatiq_triton.tokenizer.vocabulary import UNK, Vocabulary

MOST_DISTINCT = 1_000_000
"""Distinct values that are counted per field; from there on it is "at least"."""
LONG_WHOLE = 10
"""Digits of a whole number from which on an exponent is no way to write it."""
EXAMPLES = 3
EXAMPLE_CHARACTERS = 32
_CANDIDATES = 64


class FieldCounters:
    """The counters of all fields, and of what the limits on whole histories take away."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.counters: dict[tuple[Part, str], FieldCounter] = {}
        self.long_users = self.cut_events = 0
        """Users with more than ``max_events_per_user`` events, and the events that the network never sees for that."""
        self.cut_in_events = self.cut_profiles = 0
        """Events and profiles over the limit on their tokens."""
        self._config: TokenizerConfig = vocabulary.config
        self._vocabulary = vocabulary

    @property
    def unknown_values(self) -> int:
        """Values that are [UNK], of all fields."""
        return sum(counter.unknown for counter in self.counters.values())

    def add_events(self, events: EncodableEvents, encoded: EncodedFields) -> None:
        """Count a chunk of events with what they were encoded to, before the cut."""
        self._add_values(events.counted)
        starts = cu_seqlens(encoded.counts)
        first_tokens = starts[cu_seqlens(events.field_counts)[:-1]]
        places = starts[:-1] - np.repeat(first_tokens, events.field_counts)
        kept = np.clip(self._config.max_event_tokens - places, 0, encoded.counts)
        cut = encoded.counts - kept
        self.cut_in_events += _count_owners(cut, events.field_counts)
        self._add_tokens(events.columns, encoded, cut, np.zeros(len(cut), np.int64), ("events",))
        over = np.maximum(events.chunk.event_counts - self._config.max_events_per_user, 0)
        self.long_users += int(np.count_nonzero(over))
        self.cut_events += int(over.sum())

    def add_profiles(self, profiles: EncodableProfiles, encoded: EncodedFields) -> None:
        """Count a chunk of profiles with what they were encoded to."""
        self._add_values(profiles.counted)
        ends = np.cumsum(encoded.counts)
        owners = cu_seqlens(profiles.item_counts)
        before = np.concatenate([[0], ends])[owners[:-1]]
        ends = ends - np.repeat(before, profiles.item_counts)
        cut = np.where(ends > self._config.max_profile_tokens, encoded.counts, 0)
        self.cut_profiles += _count_owners(cut, profiles.item_counts)
        parts = (profiles.item_times >= 0).astype(np.int64)
        self._add_tokens(profiles.columns, encoded, cut, parts, ("attributes", "milestones"))

    def _counter(self, part: Part, key: str) -> "FieldCounter":
        if (part, key) not in self.counters:
            self.counters[part, key] = FieldCounter(part, key)
        return self.counters[part, key]

    def _add_values(self, counted: Iterable[CountedValues]) -> None:
        for values in counted:
            counter = self._counter(values.part, values.key)
            counter.add(values)
            if self._vocabulary.kind(values.key) == "categorical":
                known = self._vocabulary.state["cat_vocab"][values.key]
                # Without rules a tokenizer knows values as they are written.
                looked_up = values.read if self._vocabulary.rules else values.written
                counter.add_unseen(
                    (value, count)
                    for value, count in zip(looked_up, values.counts.tolist(), strict=True)
                    if count and value is not None and value not in known
                )

    def _add_tokens(
        self, columns: list[FieldColumn], encoded: EncodedFields, cut: Int64, part_of: Int64, parts: tuple[Part, ...]
    ) -> None:
        first = encoded.tokens[cu_seqlens(encoded.counts)[:-1]]
        unknown = (first[:, Token.VALUE] == UNK) & (first[:, Token.TEXT] < 0)
        for column in columns:
            is_numeric = self._vocabulary.kind(column.key) == "numeric"
            open_buckets = self._vocabulary.open_buckets(column.key) if is_numeric else ()
            for number, part in enumerate(parts):
                slots = column.slots if len(parts) == 1 else column.slots[part_of[column.slots] == number]
                if len(slots):
                    counter = self._counter(part, column.key)
                    counter.tokens += int(encoded.counts[slots].sum())
                    counter.cut_tokens += int(cut[slots].sum())
                    counter.unknown += int(np.count_nonzero(unknown[slots]))
                    if open_buckets:
                        counter.outside += int(np.count_nonzero(np.isin(first[slots, Token.VALUE], open_buckets)))


def _count_owners(cut: Int64, lengths: Int64) -> int:
    """How many of the sequences of ``lengths`` lose something."""
    return int(np.count_nonzero(np.diff(cu_seqlens(cut)[cu_seqlens(lengths)])))


class FieldCounter:
    """What is counted of one field, chunk after chunk."""

    def __init__(self, part: Part, name: str) -> None:
        self.part: Part = part
        self.name = name
        self.values = self.missing = self.numbers = self.unknown = self.outside = self.tokens = self.cut_tokens = 0
        self.decimals = self.floats = self.exponents = self.separated = 0
        """Of the values: numbers with decimal places, whole ones written ``123.0``, long whole ones written with an
        exponent, and those that would be numbers without separators."""
        self.example_float = self.example_exponent = ""
        self.two_spellings: tuple[str, str] | None = None
        """Of one number with decimal places."""
        self.shortest, self.longest = 1 << 30, 0
        """Characters of the numbers."""
        self.frequent: dict[str, int] = {}
        self.odd: dict[str, int] = {}
        """Values that are no numbers."""
        self.unseen: dict[str, int] = {}
        """Values of a category that the tokenizer does not know."""
        self._hashes = np.zeros(0, np.int64)
        self._new_hashes: list[Int64] = []
        self._n_new = 0

    @property
    def distinct(self) -> int:
        """Distinct values met, up to ``MOST_DISTINCT``."""
        if self._new_hashes:
            self._hashes = np.unique(np.concatenate([self._hashes, *self._new_hashes]))[:MOST_DISTINCT]
            self._new_hashes, self._n_new = [], 0
        return len(self._hashes)

    @property
    def examples(self) -> list[str]:
        """The most frequent of the values met first, shortened."""
        return most_frequent(self.frequent)

    def add(self, counted: CountedValues) -> None:
        """Count a chunk's values."""
        counts = counted.counts.tolist()
        present = [
            (value, written, count)
            for value, written, count in zip(counted.read, counted.written, counts, strict=True)
            if value is not None and count
        ]
        n_values = sum(count for _, _, count in present)
        self.values += n_values
        self.missing += sum(counts) - n_values
        words = []
        spellings: dict[str, str] = {}
        for value, written, count in present:
            if not is_plain_number(value):
                words.append((value, count))
                continue
            if "." in value and spellings.setdefault(value, written) != written:
                self.two_spellings = self.two_spellings or (shown(spellings[value]), shown(written))
            self.numbers += count
            if "." in value:
                self.decimals += count
            elif written.endswith(".0"):
                self.floats += count
                self.example_float = self.example_float or shown(written)
            elif len(value) >= LONG_WHOLE and "e" in written.lower():
                self.exponents += count
                self.example_exponent = self.example_exponent or shown(written)
            self.shortest, self.longest = min(self.shortest, len(value)), max(self.longest, len(value))
        self.separated += sum(count for value, count in words if _is_separated(value))
        _tally(self.frequent, ((value, count) for value, _, count in present))
        _tally(self.odd, words)
        if len(self._hashes) < MOST_DISTINCT:
            self._new_hashes.append(np.fromiter((hash(value) for value, _, _ in present), np.int64, len(present)))
            self._n_new += len(present)
            if self._n_new > max(len(self._hashes), 1 << 16):
                _ = self.distinct

    def add_unseen(self, values: Iterable[tuple[str, int]]) -> None:
        """Count values that the tokenizer does not know, so that some can be named."""
        _tally(self.unseen, values)

    def row(self, kind: str, fitted: FittedShares | None = None) -> Field:
        """The field's row in the table; ``fitted``: its shares in the data that the tokenizer was fitted on."""
        return Field(
            name=self.name,
            part=self.part,
            kind=kind,
            values=self.values,
            missing=self.missing,
            distinct=self.distinct,
            distinct_at_least=self.distinct >= MOST_DISTINCT,
            numbers=self.numbers,
            unknown=self.unknown,
            outside=self.outside,
            tokens=self.tokens,
            cut_tokens=self.cut_tokens,
            examples=self.examples,
            unseen=most_frequent(self.unseen),
            fitted=fitted,
        )


def most_frequent(counts: dict[str, int]) -> list[str]:
    """The first values of a count, shortened."""
    ordered = sorted(counts, key=lambda value: (-counts[value], value))
    return [shown(value) for value in ordered[:EXAMPLES]]


def shown(value: str) -> str:
    """A value as a table shows it: short, on one line, printable."""
    short = value if len(value) <= EXAMPLE_CHARACTERS else value[:EXAMPLE_CHARACTERS] + "..."
    return repr(short)[1:-1]


def _tally(into: dict[str, int], values: Iterable[tuple[str, int]]) -> None:
    """Count values, of which only those met first are kept."""
    for value, count in values:
        if value in into:
            into[value] += count
        elif len(into) < _CANDIDATES:
            into[value] = count


def _is_separated(value: str) -> bool:
    """Whether a value would be a number without the thousands separators, currency or per cent signs in it."""
    if len(value) > 40 or not any(character.isdecimal() for character in value):
        return False
    bare = value.strip().strip("€$£%").strip()
    return any(is_plain_number(each) for each in (bare.replace(",", ""), bare.replace("'", ""), bare.replace(",", ".")))
