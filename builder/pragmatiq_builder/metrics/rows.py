"""The rows behind an evaluation, written to be looked at; and a score of the user's own for the same rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.raw.labels import LabelTime, read_label_table
from pragmatiq_builder.writing import whole_file
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError

OWN = "own"
"""The name of the user's score among the models."""
SCORE = "score"

Array = npt.NDArray[Any]


def write_rows(file: Path, time: LabelTime, columns: Mapping[str, Array], models: Mapping[str, str]) -> None:
    """Write each tested row as parquet: ``user_id``, its moment, ``label``, and a column for each model's probability.

    ``columns`` [n] are ``users``, ``at`` (microseconds), ``labels`` and the models'; ``models`` says under which of
    their names in ``columns`` the output's columns are.
    """
    found = {
        "user_id": pa.array(columns["users"].tolist(), pa.string()),
        time: pa.array(columns["at"], pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        "label": pa.array(columns["labels"], pa.int8()),
        **{name: pa.array(columns[column], pa.float32()) for name, column in models.items()},
    }
    with whole_file(file) as out:
        pq.write_table(pa.table(found), out)


def read_own_scores(file: Path, time: LabelTime, users: Array, at: Int64) -> tuple[Array, int]:
    """The user's scores of the rows ``users`` and ``at`` [n], and how many rows of ``file`` are of none of these.

    ``file`` has ``user_id``, the labels' column of moments and ``score``, a probability. Raises :class:`DataError` for
    other columns, scores that are none, a row that is scored twice, and rows that lack a score.
    """
    scores = _scores(file)
    table = read_label_table(file, labelled=False)
    if table is None:
        raise DataError(f"{file}: has no rows, expected one for each tested row")
    if table.time != time:
        raise DataError(f"{file}: has {table.time}, but the labels have {time}; expected the labels' moments")
    own: dict[tuple[str, int], float] = {}
    moments = zip(table.users.to_pylist(), table.at.tolist(), scores[table.rows].tolist(), strict=True)
    for row, (user, moment, score) in enumerate(moments):
        if own.setdefault((user, moment), score) != score:
            raise DataError(f"{file}: row {row}: user_id {user!r:.80} has two scores at one moment")
    wanted = [*zip(users.tolist(), at.tolist(), strict=True)]
    lacking = [key for key in wanted if key not in own]
    if lacking:
        user, moment = lacking[0]
        raise DataError(
            f"{file}: {len(lacking):,} of {len(wanted):,} tested rows have no score, the first one user_id "
            f"{user!r:.80} at {np.datetime64(moment, 'us')}; a comparison is of the same rows: --rows FILE, without "
            "--baseline-rows, writes which rows are tested"
        )
    return np.array([own[key] for key in wanted], np.float32), len(own.keys() - set(wanted))


def _scores(file: Path) -> npt.NDArray[np.float64]:
    try:
        column = pq.read_table(file, columns=[SCORE])[SCORE]
        scores = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(
            f"{file}: expected one parquet file with user_id, the labels' moment and {SCORE}: "
            f"{' '.join(str(error).split())}"
        ) from None
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise DataError(
            f"{file}: row {wrong[0]}: {SCORE} is {scores[wrong[0]]}, expected a probability from 0 to 1; fit the scale "
            "of another score (by isotonic regression, for one) on rows that are not tested"
        )
    return scores
