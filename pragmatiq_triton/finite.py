"""NaN and infinity are found where vectors are made or read, and never passed on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.errors import NotFiniteError

_ROWS_AT_ONCE = 65_536


def not_finite_rows(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
    """The rows of ``vectors`` [n, dim] that hold a NaN or an infinity, int64 [m] ascending; a mapped array is read in
    parts.
    """
    parts = [np.zeros(0, np.int64)]
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        finite = np.isfinite(vectors[start : start + _ROWS_AT_ONCE])
        parts.append(np.flatnonzero(~finite.all(axis=1)) + start)
    return np.concatenate(parts)


def require_finite(
    what: str, vectors: npt.NDArray[np.floating[Any]], remedy: str, texts: Sequence[str] | None = None
) -> None:
    """Raise :class:`NotFiniteError` where ``vectors`` [n, dim], called ``what``, hold a NaN or an infinity.

    ``texts``: the strings that they are the vectors of, for the message; not in a server, whose log they would enter.
    """
    rows = not_finite_rows(vectors)
    if len(rows):
        first = f"row {rows[0]}" + (f", {texts[rows[0]][:60]!a}" if texts is not None else "")
        raise NotFiniteError(
            f"{what}: {len(rows)} of {len(vectors)} rows hold NaN or infinity, the first is {first}; {remedy}"
        )
