"""What the profile says: each attribute as a number, and the age of each milestone."""

import numpy as np

from pragmatiq_triton.batch import Int64, cu_seqlens
from pragmatiq_triton.tokenizer.assemble import NO_TIME
from pragmatiq_triton.tokenizer.features.view import Float64, HistoryView, lasting
from pragmatiq_triton.tokenizer.vocabulary import Vocabulary

_KEY, _VALUE = 0, 1


class Profile:
    """Of each key that the tokenizer knows: ``attribute`` and ``age``.

    An attribute of words is its rank by how often values came in training; one of numbers is its bucket, in the order
    of the numbers. One of texts, and a value never seen, is NaN. The age of a milestone is in log-seconds before the
    moment of judgement; the latest counts.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        state = vocabulary.state
        keys = [key for key in sorted(state["key_vocab"]) if vocabulary.kind(key) in ("categorical", "numeric")]
        self.names = [*(f"{key}.attribute" for key in keys), *(f"{key}.age" for key in keys)]
        self._key_ids = np.asarray([vocabulary.key_id(key) for key in keys], np.int64)
        values = [list(state["cat_vocab"].get(key, {}).values()) for key in keys]
        bases = [min(ids, default=int(state["binner_base"].get(key, 0))) for key, ids in zip(keys, values, strict=True)]
        sizes = [
            len(ids) or len(state["binners"][key]["edges"]) + 2 if key in state["binners"] else len(ids)
            for key, ids in zip(keys, values, strict=True)
        ]
        self._bases, self._sizes = np.asarray(bases, np.int64), np.asarray(sizes, np.int64)

    def __call__(self, view: HistoryView) -> Float64:
        n_keys = len(self._key_ids)
        found = np.full(2 * n_keys, np.nan)
        record = view.record
        if not len(record.item_lengths) or not n_keys:
            return found
        items = record.profile[cu_seqlens(record.item_lengths)[:-1]]
        columns = self._columns(items[:, _KEY].astype(np.int64))
        timed = record.item_ts != NO_TIME
        ranks = items[:, _VALUE] - self._bases[columns]
        plain = (columns >= 0) & ~timed & (ranks >= 0) & (ranks < self._sizes[columns])
        found[columns[plain]] = ranks[plain]
        # In the order of their times, so that the latest of two stays.
        for item in np.flatnonzero((columns >= 0) & timed)[np.argsort(record.item_ts[(columns >= 0) & timed])].tolist():
            if record.item_ts[item] <= view.at:
                found[n_keys + columns[item]] = lasting(view.at - record.item_ts[item])
        return found

    def _columns(self, keys: Int64) -> Int64:
        """Each key's place among ours, -1 for others."""
        column_of = np.full(int(max(self._key_ids.max(), keys.max(initial=0))) + 1, -1, np.int64)
        column_of[self._key_ids] = np.arange(len(self._key_ids))
        return column_of[keys]
