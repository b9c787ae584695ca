"""All features of a history, by level: recency; frequency, gaps and the statistics of numbers; and the families.

One function for training and serving, over any bank's fields: the tokenizer has found out which are numbers, which are
categories and which are texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Float32, Int64, Token
from pragmatiq_triton.tokenizer.assemble import EncodedRecord, reference_time
from pragmatiq_triton.tokenizer.features.categories import Categories
from pragmatiq_triton.tokenizer.features.kinds import KindGaps
from pragmatiq_triton.tokenizer.features.numbers import Numbers
from pragmatiq_triton.tokenizer.features.profile import Profile
from pragmatiq_triton.tokenizer.features.rhythm import Rhythm
from pragmatiq_triton.tokenizer.features.view import HistoryView, WordFields
from pragmatiq_triton.tokenizer.fields import LARGEST
from pragmatiq_triton.tokenizer.times import MICROSECONDS, calendar, log_seconds, month
from pragmatiq_triton.tokenizer.vocabulary import Vocabulary

Float64 = npt.NDArray[np.float64]
FeatureLevel = Literal["none", "recency", "all", "wide"]
"""How much of it a model repository computes: each is the beginning of the next.

``all`` is what earlier heads read; ``wide`` has the families too."""

RECENCY = "recency"
"""Log-seconds from the newest event to the moment of judgement; the network itself measures time from that event."""

COUNT_DAYS = (7, 30, 90)
LAST = 10
"""Events of the shorter of the two windows."""

_DAY = 86_400 * MICROSECONDS
_TIMES = ("tenure", "month", "hour")
_GAPS = ("mean", "spread", "longest", "last")
_STATISTICS = ("last", "mean", "spread", "min", "max", "sum", "deviation")
_WINDOWS = ("all", f"last{LAST}")


@dataclass(frozen=True, slots=True)
class HistoryFeatures:
    """The features of one tokenizer's records; ``names`` says what each column is.

    Durations (recency, tenure, gaps) are in log-seconds (:func:`~pragmatiq_triton.tokenizer.times.log_seconds`), the
    rest is in the fields' own units; ``deviation`` is the last value's distance from the mean in spreads. What a
    history cannot say (a gap of one event, a field that never came) is NaN.
    """

    level: FeatureLevel
    number_keys: tuple[str, ...]
    key_ids: Int64
    timezone: str
    families: "Families | None" = None

    @classmethod
    def of(cls, vocabulary: Vocabulary, level: FeatureLevel) -> "HistoryFeatures":
        """The features of ``level`` for records that ``vocabulary`` encodes."""
        keys = vocabulary.number_keys
        ids = np.asarray([vocabulary.key_id(key) for key in keys], np.int64)
        zone = vocabulary.config.calendar_tz
        return cls(level, tuple(keys), ids, zone, Families.of(vocabulary) if level == "wide" else None)

    @property
    def reads_numbers(self) -> bool:
        """Whether the values of fields of numbers are needed, beside their tokens."""
        return self.level not in ("none", "recency")

    @property
    def names(self) -> list[str]:
        """A name per column."""
        if self.level == "none":
            return []
        if self.level == "recency":
            return [RECENCY]
        counts = ["events", *(f"events_{days}d" for days in COUNT_DAYS)]
        gaps = [f"gap.{window}.{name}" for window in _WINDOWS for name in _GAPS]
        numbers = [f"{key}.{window}.{name}" for window in _WINDOWS for name in _STATISTICS for key in self.number_keys]
        wide = self.families.names if self.families else []
        return [RECENCY, *_TIMES, *counts, *gaps, *numbers, *wide]

    def __call__(self, record: EncodedRecord) -> Float32:
        """float32 [len(names)] of the record's events, all of them."""
        if self.level == "none":
            return np.zeros(0, np.float32)
        ts, at = record.event_ts, reference_time(record)
        recency = _duration(at - ts[-1:])
        if self.level == "recency":
            return recency.astype(np.float32)
        values = self._numbers(record)
        gaps = np.diff(ts)
        columns: list[npt.ArrayLike] = [
            recency,
            _duration(at - ts[:1]),
            self._moment(at),
            len(ts) - np.searchsorted(ts, [-1, *(at - days * _DAY for days in COUNT_DAYS)], side="right"),
            _gap_statistics(gaps),
            _gap_statistics(gaps[1 - LAST :]),
            _statistics(values),
            _statistics(values[-LAST:]),
            *(self.families(record, values) if self.families else ()),
        ]
        values = np.concatenate([np.asarray(column, np.float64) for column in columns])
        # A sum of large numbers may pass float32's range, and a head reads nothing infinite.
        return values.clip(-LARGEST, LARGEST).astype(np.float32)

    def _moment(self, at: int) -> Sequence[float]:
        """Month 1..12 and hour 0..23 of the moment of judgement."""
        if at <= 0:
            return (np.nan, np.nan)
        moment = np.asarray([at], np.int64)
        return (float(month(moment, self.timezone)[0]), float(calendar(moment, self.timezone)[0][0]))

    def _numbers(self, record: EncodedRecord) -> Float64:
        """The fields of numbers as a table [n_events, n_keys]; NaN where an event lacks the field."""
        rows = np.flatnonzero(~np.isnan(record.numbers))
        column_of = np.zeros(int(self.key_ids.max(initial=0)) + 1, np.int64)
        column_of[self.key_ids] = np.arange(len(self.key_ids))
        n_events = len(record.event_lengths)
        table = np.full((n_events, len(self.key_ids)), np.nan)
        event_of = np.repeat(np.arange(n_events), record.event_lengths)
        table[event_of[rows], column_of[record.tokens[rows, Token.KEY]]] = record.numbers[rows]
        return table


@dataclass(frozen=True, slots=True)
class Families:
    """The families of features beyond the level ``all``."""

    words: WordFields
    numbers: Numbers
    categories: Categories
    kinds: KindGaps
    rhythm: Rhythm
    profile: Profile

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "Families":
        """Of records that ``vocabulary`` encodes."""
        words = WordFields.of(vocabulary)
        return cls(
            words,
            Numbers(vocabulary.number_keys),
            Categories(words),
            KindGaps(words),
            Rhythm(vocabulary.config.calendar_tz),
            Profile(vocabulary),
        )

    @property
    def names(self) -> list[str]:
        """A name per column."""
        families = (self.numbers, self.categories, self.kinds, self.rhythm, self.profile)
        return [name for family in families for name in family.names]

    def __call__(self, record: EncodedRecord, numbers: Float64) -> list[Float64]:
        """The columns of each family; ``numbers`` [n_events, n_keys] are the fields of numbers."""
        view = HistoryView(record, self.words)
        return [
            self.numbers(view, numbers),
            self.categories(view),
            self.kinds(view),
            self.rhythm(view),
            self.profile(view),
        ]


def _duration(elapsed_us: Int64) -> Float64:
    """Log-seconds float64 [1] of the one duration given, NaN without one; what lies in the future is now."""
    if not len(elapsed_us):
        return np.asarray([np.nan])
    return log_seconds(np.maximum(elapsed_us, 0)).astype(np.float64)


def _gap_statistics(gaps: Int64) -> Float64:
    """``_GAPS`` of gaps in microseconds, each in log-seconds."""
    if not len(gaps):
        return np.full(len(_GAPS), np.nan)
    return log_seconds(np.asarray([gaps.mean(), gaps.std(), gaps.max(), gaps[-1]])).astype(np.float64)


def _statistics(table: Float64) -> Float64:
    """``_STATISTICS`` of each column of [n_events, n_keys], statistic by statistic."""
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    missing = np.where(counts, 1.0, np.nan)
    n = np.maximum(counts, 1)
    total = np.where(known, table, 0.0).sum(axis=0)
    mean = total / n
    spread = np.sqrt(np.where(known, np.square(table - mean), 0.0).sum(axis=0) / n)
    last_row = len(table) - 1 - np.argmax(known[::-1], axis=0) if len(table) else np.zeros(table.shape[1], np.int64)
    last = table[last_row, np.arange(table.shape[1])] if len(table) else np.full(table.shape[1], np.nan)
    lowest = np.where(known, table, np.inf).min(axis=0, initial=np.inf)
    highest = np.where(known, table, -np.inf).max(axis=0, initial=-np.inf)
    deviation = np.where(spread > 0, (last - mean) / np.where(spread > 0, spread, 1.0), 0.0)
    return np.concatenate([last, *(missing * x for x in (mean, spread, lowest, highest, total, deviation))])
