"""Moments as the wire has them: whole microseconds since the epoch."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FINER = re.compile(r"[.,]\d{6}(\d+)")
_PER_DAY = 86_400_000_000
_FIRST_US, _END_US = -62_135_596_800_000_000, 253_402_300_800_000_000  # the years 1 to 9999


def micros(moment: Any) -> int:
    """Whole microseconds since the epoch (UTC), exactly.

    Args:
        moment: one of

            - a ``datetime`` with a time zone, pandas' ``Timestamp`` included;
            - a ``date``, which stands for its midnight in UTC;
            - a ``numpy.datetime64``, which numpy defines as UTC;
            - ISO 8601 text: of a date, or of a time with its offset (``2025-01-30T09:42:51.663128+01:00``).

    Returns:
        The microseconds, negative before 1970.

    Raises:
        ValueError: a time without a zone, finer than a microsecond, missing (NaT), or outside the years 1 to 9999.
        TypeError: anything else. A bare number is refused, because it does not say its unit.

    Example:
        >>> micros(datetime(2025, 1, 30, 9, 42, 51, 663128, tzinfo=UTC))
        1738230171663128
        >>> micros(date(1970, 1, 2))
        86400000000
    """
    if isinstance(moment, str):
        return _of_text(moment)
    if isinstance(moment, np.datetime64):
        return _of_numpy(moment)
    if isinstance(moment, datetime):
        return _of_datetime(moment)
    if isinstance(moment, date):
        return (moment.toordinal() - _EPOCH.toordinal()) * _PER_DAY
    number = isinstance(moment, int | float | np.integer | np.floating)
    reason = ", which does not say its unit" if number else ""
    raise TypeError(
        f"expected a datetime with a time zone, a date, a numpy.datetime64 or ISO text, "
        f"got {type(moment).__name__}{reason}"
    )


def _of_datetime(moment: datetime) -> int:
    if moment != moment:  # pandas' NaT is a datetime
        raise ValueError("expected a moment, got NaT (a missing value)")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(
            f"expected a time zone, got {str(moment)!r} without one, which is another moment in each place: "
            "moment.replace(tzinfo=datetime.UTC), or tz_localize in pandas"
        )
    nanosecond = getattr(moment, "nanosecond", 0)
    if nanosecond:
        raise _too_fine(str(moment))
    # A pandas Timestamp keeps its own subtraction, in nanoseconds; as a plain datetime it is exact in all years.
    plain = moment.to_pydatetime() if hasattr(moment, "to_pydatetime") else moment
    return (plain - _EPOCH) // _MICROSECOND


def _of_numpy(moment: np.datetime64) -> int:
    if np.isnat(moment):
        raise ValueError("expected a moment, got NaT (a missing value)")
    unit, step = np.datetime_data(moment.dtype)
    seconds = moment.astype("datetime64[s]")
    if not _FIRST_US <= int(seconds.astype(np.int64)) * 10**6 < _END_US:
        raise ValueError(f"expected a moment in the years 1 to 9999, got {moment!r}")
    exact = moment.astype("datetime64[us]")
    if unit in ("ns", "ps", "fs", "as") and exact.astype(f"datetime64[{step}{unit}]") != moment:
        raise _too_fine(str(moment))
    return int(exact.astype(np.int64))


def _of_text(moment: str) -> int:
    finer = _FINER.search(moment)
    if finer and finer.group(1).strip("0"):
        raise _too_fine(moment)
    try:
        return micros(date.fromisoformat(moment))
    except ValueError:
        pass
    try:
        read = datetime.fromisoformat(moment)
    except ValueError as error:
        problem = "expected ISO 8601 text, as 2025-01-30T09:42:51.663128+01:00"
        raise ValueError(f"{problem}, got {moment!r:.80}: {error}") from None
    return micros(read)


def _too_fine(moment: str) -> ValueError:
    return ValueError(f"expected whole microseconds, got {moment!r}: round it first, as Timestamp.floor('us') does")
