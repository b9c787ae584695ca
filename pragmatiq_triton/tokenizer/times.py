"""Time as the network sees it: log-seconds back from a reference, and the calendar of a moment."""

from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Float32, Int64
from pragmatiq_triton.errors import ConfigError

MICROSECONDS = 1_000_000
_DAY = 86_400
_QUARTER = 900
_LAST_QUARTER = 253_402_214_400 // _QUARTER
"""The beginning of 9999-12-31."""


def log_seconds(elapsed_us: Int64) -> Float32:
    """``8 ln(1 + s / 8)`` of the elapsed seconds s: near seconds stay apart, years do not run away. float32 [n]."""
    return (8.0 * np.log1p(elapsed_us / (8.0 * MICROSECONDS))).astype(np.float32)


def calendar(ts: Int64, timezone: str) -> tuple[Int64, Int64, Int64]:
    """Hour 0..23, day of week (Monday 0) and day of month 1..31 of each moment in ``timezone``; int64 [n] each.

    ``ts`` int64 [n] is in microseconds since the epoch.
    """
    seconds = _local_seconds(ts, timezone)
    days = seconds // _DAY
    dates = days.astype("datetime64[D]")
    day_of_month = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1
    # 1970-01-01 was a Thursday.
    return seconds % _DAY // 3600, (days + 3) % 7, day_of_month


def month(ts: Int64, timezone: str) -> Int64:
    """Month 1..12 of each moment in ``timezone``; int64 [n], from microseconds since the epoch int64 [n]."""
    return _local_seconds(ts, timezone).astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12 + 1


def timezone_of(name: str) -> ZoneInfo:
    """The named zone; :class:`ConfigError` where the IANA database has no such name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"calendar_tz: expected an IANA time zone such as Europe/London, got {name!r}") from None


def _local_seconds(ts: Int64, timezone: str) -> Int64:
    return ts // MICROSECONDS + _utc_offsets(ts // MICROSECONDS, timezone)


def _utc_offsets(seconds: Int64, timezone: str) -> npt.NDArray[np.int64]:
    if timezone == "UTC":
        return np.zeros_like(seconds)
    # Offsets change on quarter hours, so each distinct quarter hour is asked for once.
    quarters, inverse = np.unique(seconds // _QUARTER, return_inverse=True)
    offsets = np.fromiter((_offset(int(quarter), timezone) for quarter in quarters), np.int64, len(quarters))
    return offsets[inverse]


@lru_cache(maxsize=1 << 16)
def _offset(quarter: int, timezone: str) -> int:
    from datetime import UTC, datetime, timedelta

    # East of Greenwich the last day that datetime knows ends in a year that it does not know; the zone's offset lasts.
    quarter = min(quarter, _LAST_QUARTER)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=quarter * _QUARTER)
    delta = moment.astimezone(timezone_of(timezone)).utcoffset()
    return round(delta.total_seconds()) if delta else 0
