"""What the fields of numbers say of lately: sums over windows, and the last month against the time before."""

from collections.abc import Sequence

import numpy as np

from pragmatiq_triton.tokenizer.features.view import Float64, HistoryView, settled

SUM_DAYS = (1, 7, 30, 90)
LATELY_DAYS = 30
_OF_EACH = ("previous", *(f"sum_{days}d" for days in SUM_DAYS), "mean_30d", "mean_before", "ratio_30d", "trend")


class Numbers:
    """Of each field of numbers.

    ``previous``: the value before the newest; ``sum_1d`` to ``sum_90d``; ``mean_30d`` and ``mean_before``: of the last
    30 days and of all before; ``ratio_30d``: the first over the second; ``trend``: the correlation of the values with
    the order in which they came, -1 to 1.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self.names = [f"{key}.{what}" for what in _OF_EACH for key in keys]
        self._n_keys = len(keys)

    def __call__(self, view: HistoryView, table: Float64) -> Float64:
        """Of ``table`` [n_events, n_keys], NaN where an event lacks the field."""
        n = len(table)
        if not n or not self._n_keys:
            return np.full(len(self.names), np.nan)
        known = ~np.isnan(table)
        filled = np.where(known, table, 0.0)
        counts = known.sum(axis=0)
        has = np.where(counts > 0, 1.0, np.nan)
        rank = np.cumsum(known, axis=0)
        is_previous = known & (rank == counts - 1)
        previous = np.where(counts > 1, filled[np.argmax(is_previous, axis=0), np.arange(self._n_keys)], np.nan)
        sums = [has * filled[view.since(days) :].sum(axis=0) for days in SUM_DAYS]
        first = view.since(LATELY_DAYS)
        late, before = _mean(filled[first:], known[first:]), _mean(filled[:first], known[:first])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(before != 0, late / before, np.nan)
        return np.concatenate([previous, *sums, late, before, ratio, _trend(filled, known, rank, counts)])


def _mean(filled: Float64, known: np.typing.NDArray[np.bool_]) -> Float64:
    n = known.sum(axis=0)
    return np.where(n > 0, filled.sum(axis=0) / np.maximum(n, 1), np.nan)


def _trend(filled: Float64, known: np.typing.NDArray[np.bool_], rank: Float64, counts: Float64) -> Float64:
    n = np.maximum(counts, 1)
    place = np.where(known, rank - (counts + 1) / 2, 0.0)
    value = np.where(known, filled - filled.sum(axis=0) / n, 0.0)
    spread = np.sqrt(np.square(place).sum(axis=0) * np.square(value).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((counts > 1) & (spread > 0), settled((place * value).sum(axis=0) / spread), np.nan)
