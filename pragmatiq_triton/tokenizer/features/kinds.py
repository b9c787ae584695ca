"""Time between kinds of events: since the last of each, and from each kind to another (from ``due`` to ``repaid``)."""

from collections.abc import Iterator

import numpy as np

from pragmatiq_triton.batch import Int64
from pragmatiq_triton.tokenizer.features.view import Float64, HistoryView, WordFields, lasting
from pragmatiq_triton.tokenizer.fields import SOURCE_KEY

SMALL = 24
"""A category of at most so many values tells kinds of events."""
KINDS_OF_A_FIELD = 6
MOST_KINDS = 30
PAIRED_FIELDS = 2
PAIRED_KINDS = 4
_OF_A_PAIR = ("last", "mean", "longest")


class KindGaps:
    """For frequent values of ``source`` and of the small categories.

    ``since``: log-seconds from the last event of that kind to the moment of judgement. Of the ordered pairs among the
    four most frequent kinds of up to two fields: the time from the last event of the first kind before an event of the
    second to that event, ``last``, ``mean`` and ``longest``, in log-seconds. Kinds are numbered by how often they came
    in training. NaN if there is none.
    """

    def __init__(self, words: WordFields) -> None:
        columns = sorted(
            (column for column in range(len(words.names)) if 1 < words.n_values[column] <= SMALL),
            key=lambda column: (words.names[column] != SOURCE_KEY, column),
        )
        kinds = [(column, i) for column in columns for i in range(min(KINDS_OF_A_FIELD, int(words.n_values[column])))][
            :MOST_KINDS
        ]
        self._columns = np.asarray([column for column, _ in kinds], np.int64)
        self._ids = np.asarray([words.first_ids[column] + i for column, i in kinds], np.int64)
        self._pairs = [
            (first, second)
            for field in list(dict.fromkeys(column for column, _ in kinds))[:PAIRED_FIELDS]
            for first, second in _ordered_pairs(
                [place for place, (column, i) in enumerate(kinds) if column == field and i < PAIRED_KINDS]
            )
        ]
        called = [f"{words.names[column]}{i}" for column, i in kinds]
        self.names = [f"since.{name}" for name in called]
        self.names += [
            f"gap.{called[first]}.{called[second]}.{what}" for first, second in self._pairs for what in _OF_A_PAIR
        ]

    def __call__(self, view: HistoryView) -> Float64:
        found = np.full(len(self.names), np.nan)
        if not view.n or not len(self._ids):
            return found
        present, values = view.values
        # The kinds whose field some event has, and where it lies among the present ones.
        kinds = np.flatnonzero(np.isin(self._columns, present))
        is_kind = values[:, np.searchsorted(present, self._columns[kinds])] == self._ids[kinds]
        last = view.n - 1 - np.argmax(is_kind[::-1], axis=0)
        has = np.flatnonzero(is_kind[last, np.arange(len(kinds))])
        found[kinds[has]] = lasting(view.at - view.ts[last[has]])
        times = {int(kinds[place]): view.ts[is_kind[:, place]] for place in has.tolist()}
        for number, (first, second) in enumerate(self._pairs):
            if first in times and second in times:
                start = len(self._ids) + number * len(_OF_A_PAIR)
                found[start : start + len(_OF_A_PAIR)] = _gaps(times[first], times[second])
        return found


def _ordered_pairs(places: list[int]) -> Iterator[tuple[int, int]]:
    return ((first, second) for first in places for second in places if first != second)


def _gaps(first: Int64, second: Int64) -> Float64:
    """Last, mean and longest time from the nearest event of ``first`` before each of ``second``."""
    nearest = np.searchsorted(first, second, side="left") - 1
    gaps = (second - first[nearest])[nearest >= 0]
    if not len(gaps):
        return np.full(len(_OF_A_PAIR), np.nan)
    return lasting([gaps[-1], gaps.mean(), gaps.max()])
