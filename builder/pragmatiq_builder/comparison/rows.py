"""Rows that two runs' heads were tested on: read from files, and put into one order if they are the same."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.raw.labels import read_label_table
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError

Array = npt.NDArray[Any]


class EvaluatedRows(NamedTuple):
    """``users``, ``at`` (microseconds), ``labels`` and ``scores`` [n] of the rows in ``file``, sorted."""

    file: Path
    users: Array
    at: Int64
    labels: Array
    scores: Array

    @property
    def keys(self) -> "Counter[tuple[str, int, int]]":
        """How often each user, moment and label is there: several events of a user may share a moment."""
        return Counter(zip(self.users.tolist(), self.at.tolist(), self.labels.tolist(), strict=True))


def read_rows(file: Path, method: str) -> EvaluatedRows:
    """Read what ``evaluate`` wrote of the tested rows; ``method``: the head's, under which its probabilities stand.

    Raises :class:`DataError` for a file without these columns, or with other values in them.
    """
    table = read_label_table(file)
    if table is None:
        raise DataError(f"{file}: has no rows, expected the tested rows of an evaluation")
    try:
        scores = pq.read_table(file, columns=[method])[method].cast(pa.float64()).to_numpy()
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{file}: expected the rows of an evaluation, with the head's probabilities in the column {method!r}: "
            f"{reason}"
        ) from None
    scores = np.asarray(scores, np.float64)[table.rows]
    if not ((scores >= 0) & (scores <= 1)).all():
        raise DataError(f"{file}: the column {method!r} holds what is no probability from 0 to 1")
    labels = np.nan_to_num(table.labels, nan=-1).astype(np.int8)
    if (labels < 0).any():
        raise DataError(f"{file}: {np.count_nonzero(labels < 0):,} rows have no label, so none can be measured")
    users = np.asarray(table.users.to_pylist())
    order = np.lexsort((scores, labels, table.at, users))
    return EvaluatedRows(file, users[order], table.at[order], labels[order], scores[order])


def difference(rows: Mapping[str, EvaluatedRows]) -> str | None:
    """How the rows of the runs differ, in words; None if all have the same."""
    keys = {name: found.keys for name, found in rows.items()}
    common = Counter(next(iter(keys.values())))
    for each in keys.values():
        common &= each
    if all(each == common for each in keys.values()):
        return None
    alone = ", ".join(f"{each.total() - common.total():,} more of {name}" for name, each in keys.items())
    return f"the tested rows differ: {common.total():,} are in all files, and {alone}"
