"""What the fields of words say: shares of frequent values, and whether the newest value is new to this customer."""

import numpy as np

from pragmatiq_triton.batch import Int64, Token, cu_seqlens
from pragmatiq_triton.tokenizer.features.view import MISSING, Float64, HistoryView, WordFields, lasting, settled

SHARES = 8
"""Frequent values of each category whose shares are told."""
_OF_EACH = ("rank", "seen", "since", "share", "distinct", "entropy")


class Categories:
    """Of each field of words, over all events that have it.

    ``rank``: of the newest value, by how often values came in training, NaN of texts and of values never seen there;
    ``seen``: how many earlier events have the newest value; ``since``: log-seconds since the last of those, NaN if it
    is new; ``share``: theirs among the earlier events that have the field; ``distinct`` values, and their ``entropy``
    in nats (of categories); ``is0`` to ``is7``: shares of the most frequent values in training.
    """

    def __init__(self, words: WordFields) -> None:
        self._words = words
        self._categories = np.flatnonzero(~words.is_text)
        names = words.names
        self._shares = [(c, i) for c in self._categories.tolist() for i in range(min(SHARES, int(words.n_values[c])))]
        self.names = [f"{name}.{what}" for what in _OF_EACH for name in names]
        self.names += [f"{names[column]}.is{i}" for column, i in self._shares]
        self._ids = np.concatenate(
            [np.zeros(0, np.int64)]
            + [np.arange(words.first_ids[c], words.first_ids[c] + words.n_values[c]) for c in self._categories]
        ).astype(np.int64)
        self._starts = cu_seqlens(words.n_values[self._categories])[:-1]
        self._size = int((words.first_ids + words.n_values).max(initial=0))
        self._shown = np.asarray([words.first_ids[c] + i for c, i in self._shares], np.int64)
        self._shown_columns = np.asarray([c for c, _ in self._shares], np.int64)

    def __call__(self, view: HistoryView) -> Float64:
        present, values = view.values
        found = np.full((len(_OF_EACH), len(self._words.names)), np.nan)
        shown = np.full(len(self._shown), np.nan)
        if len(present):
            counts = self._counts(view)
            found[:, present], total = self._of_each(view, present, values, counts)
            of_all = np.zeros(len(self._words.names), np.int64)
            of_all[present] = total
            of_shown = of_all[self._shown_columns]
            shown = np.where(of_shown > 0, counts[self._shown] / np.maximum(of_shown, 1), np.nan)
        return np.concatenate([found.ravel(), shown])

    def _of_each(self, view: HistoryView, present: Int64, values: Int64, counts: Int64) -> tuple[Float64, Int64]:
        """``_OF_EACH`` of the fields ``present``, [n_each, n_present], and how many events have each."""
        n, n_present = values.shape
        places = np.arange(n_present)
        known = values != MISSING
        total = known.sum(axis=0)
        last = n - 1 - np.argmax(known[::-1], axis=0)
        newest = values[last, places]
        earlier = values == newest
        earlier[last, places] = False
        seen = earlier.sum(axis=0)
        before = n - 1 - np.argmax(earlier[::-1], axis=0)
        since = np.where(seen > 0, lasting(view.ts[last] - view.ts[before]), np.nan)
        rank = newest - self._words.first_ids[present]
        rank = np.where((rank >= 0) & (rank < self._words.n_values[present]), rank, np.nan)
        share = np.where(total > 1, seen / np.maximum(total - 1, 1), np.nan)
        of_all = np.zeros(len(self._words.names), np.int64)
        of_all[present] = total
        distinct, entropy = np.full((2, len(self._words.names)), np.nan)
        distinct[self._categories], entropy[self._categories] = self._spread(counts, of_all[self._categories])
        for place in np.flatnonzero(self._words.n_values[present] == 0).tolist():
            distinct[present[place]] = len(np.unique(values[known[:, place], place]))
        return np.stack([rank, seen, since, share, distinct[present], entropy[present]]), total

    def _spread(self, counts: Int64, total: Int64) -> tuple[Float64, Float64]:
        """Distinct values of each category and their entropy; those that training never saw count as one value."""
        if not len(self._starts):
            return np.zeros(0), np.zeros(0)
        of_values = counts[self._ids]
        unread = total - np.add.reduceat(of_values, self._starts)
        distinct: Int64 = np.add.reduceat(of_values > 0, self._starts, dtype=np.int64) + (unread > 0)
        n = np.maximum(total, 1)
        weighted: Float64 = np.add.reduceat(_x_log_x(of_values), self._starts) + _x_log_x(unread)
        return distinct.astype(np.float64), settled(np.log(n) - weighted / n)

    def _counts(self, view: HistoryView) -> Int64:
        """How often each value of a category came, int64 [largest id + 1]."""
        tokens = view.record.tokens
        ids = tokens[(tokens[:, Token.TEXT] < 0) & (tokens[:, Token.VALUE] < self._size), Token.VALUE]
        return np.bincount(ids, minlength=max(self._size, 1))


def _x_log_x(counts: Int64) -> Float64:
    found: Float64 = counts.astype(np.float64) * np.log(np.maximum(counts, 1))
    return found
