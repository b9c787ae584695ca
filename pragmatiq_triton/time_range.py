"""Which times are plausible: what was written in another unit is refused, and the unit that it looks like is named."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import product

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.errors import ConfigError

MAX_TS = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""
NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""In each unit of time."""
YEARS_AROUND = 10
"""Beyond what a tokenizer was fitted on, at least so many years are plausible, before and after."""

_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR = 31_556_952_000_000
_USUAL = 50 * _YEAR
"""2020: of two units that would both do, the one that brings a number closer to it is named."""
_MILLISECONDS_OF_LIVES = 47 * 86_400_000_000
"""Times from 1842 to 2098 that were written in milliseconds (or seconds) are read as less than this around 1970."""
_QUARTER_HOUR = 900_000_000
"""Dates and local midnights fall on whole ones."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Plausible microseconds since the epoch, ``earliest`` and ``latest`` among them."""

    earliest: int
    latest: int = MAX_TS

    def __contains__(self, ts: int) -> bool:
        return self.earliest <= ts <= self.latest

    def __str__(self) -> str:
        return f"from {date_of(self.earliest)} to {date_of(self.latest)}"

    def around(self, first: int, last: int) -> "TimeRange":
        """What is plausible beside times from ``first`` to ``last``: as long again on both sides, or ten years."""
        margin = max(last - first, YEARS_AROUND * _YEAR)
        return TimeRange(max(first - margin, self.earliest), min(last + margin, self.latest))

    def with_bounds(self, earliest: str | None, latest: str | None) -> "TimeRange":
        """The range with those bounds replaced that are given, as dates; the latest day is plausible to its end.

        Raises :class:`ConfigError` where one is no date, and where they leave nothing.
        """
        times = self
        if earliest is not None:
            times = replace(times, earliest=start_of_day("earliest_time", earliest))
        if latest is not None:
            times = replace(times, latest=start_of_day("latest_time", latest) + 86_400_000_000 - 1)
        if times.earliest > times.latest:
            raise ConfigError(
                f"earliest_time and latest_time: expected the earliest before the latest, got {times}; change either"
            )
        return times

    def outside(self, ts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The places in ``ts`` int64 [n] of what is not plausible."""
        if not len(ts) or (ts.min() >= self.earliest and ts.max() <= self.latest):
            return np.zeros(0, np.int64)
        return np.flatnonzero((ts < self.earliest) | (ts > self.latest))

    def problem(self, ts: int) -> str:
        """What is wrong with ``ts``: what was expected, what it would be, and the unit that it looks like."""
        return f"expected microseconds since the epoch {self}, got {ts}, {reading(ts)}{looks_like(ts, 'us', self)}"


PLAUSIBLE = TimeRange(int((datetime(1971, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 1_000_000)
"""Of events, of the moments that they are judged at, and of labels, where nothing else is said."""
LIVES = TimeRange(-int((_EPOCH - datetime(1600, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000)
"""Of milestones: dates of birth and of foundation lie before 1970 too."""


def units_of(numbers: npt.NDArray[np.int64], written_as: str, times: TimeRange) -> npt.NDArray[np.object_]:
    """Of each number int64 [n] that was ``written_as`` a unit but is not plausible: the unit that it looks like, or "".

    Tables often hold numbers that were read as nanoseconds on their way into another unit; that is said as well.
    """
    best = np.full(len(numbers), np.inf)
    found = np.full(len(numbers), "", np.object_)
    elapsed = numbers.astype(np.float64) * NANOSECONDS[written_as]
    for misread, unit in product(dict.fromkeys((written_as, "ns")), NANOSECONDS):
        ts = elapsed / NANOSECONDS[misread] * (NANOSECONDS[unit] / 1_000)
        likely = (ts >= times.earliest) & (ts <= times.latest) & (np.abs(ts) >= _MILLISECONDS_OF_LIVES)
        distance = np.where(likely, np.abs(ts - _USUAL), np.inf)
        # What needs no second mistake comes first.
        better = (distance < best) if misread == written_as else np.isinf(best) & np.isfinite(distance)
        name = _NAMES[unit] if misread == written_as else f"{_NAMES[unit]} read as {_NAMES[misread]}"
        if unit != misread:
            best[better], found[better] = distance[better], name
    return found


def looks_like(number: int, written_as: str, times: TimeRange) -> str:
    """The end of a sentence on an implausible number: the unit that it looks like, or nothing."""
    (unit,) = units_of(np.asarray([number], np.int64), written_as, times)
    return f"; it looks like {unit}" if unit else ""


def reading(ts: int) -> str:
    """What ``ts`` microseconds would be, as the end of a sentence."""
    return f"which would be {date_of(ts)}"


def date_of(ts: int) -> str:
    """The day of ``ts`` microseconds since the epoch, ``the year 57051`` where it is far away."""
    try:
        return (_EPOCH + timedelta(microseconds=ts)).date().isoformat()
    except OverflowError:
        return f"the year {1970 + ts // _YEAR}"


def odd_milestones(ts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Milestones, int64 [n] microseconds, that were most likely written in seconds or milliseconds, bool [n].

    Those of a life lie within seven weeks of 1970 then (milliseconds of it, if read as nanoseconds on the way), where
    true ones are dates: these are whole quarters of an hour.
    """
    distance = np.abs(ts)
    near = (distance < _MILLISECONDS_OF_LIVES) & (distance >= _MILLISECONDS_OF_LIVES // 1_000_000_000)
    return np.asarray(near & (ts % _QUARTER_HOUR != 0))


def implausible_milestones(ts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Of milestones, int64 [n] microseconds, which are outside of :data:`LIVES` or odd, bool [n]."""
    outside = np.zeros(len(ts), np.bool_)
    outside[LIVES.outside(ts)] = True
    # Of the smallest int64 there is no absolute value.
    outside[~outside] = odd_milestones(ts[~outside])
    return outside


def start_of_day(name: str, text: str) -> int:
    try:
        day = date.fromisoformat(text)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}: expected a date such as 1971-01-01, got {text!r}") from None
    return (day - date(1970, 1, 1)).days * 86_400_000_000
