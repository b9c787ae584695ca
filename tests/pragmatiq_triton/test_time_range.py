import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.errors import ConfigError, RecordError
from pragmatiq_triton.records import decode_record
from pragmatiq_triton.time_range import LIVES, MAX_TS, PLAUSIBLE, TimeRange, implausible_milestones, units_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = 1_738_245_371_663_128
UNITS = {"seconds": 1_000_000, "milliseconds": 1_000, "nanoseconds": 1 / 1_000}
"""Microseconds in each."""
moments = st.datetimes(datetime(1980, 1, 1), datetime(2260, 1, 1)).map(
    lambda moment: (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
)
births = st.dates(datetime(1900, 1, 1).date(), datetime(2026, 1, 1).date()).map(
    lambda day: (day - EPOCH.date()).days * 86_400_000_000
)


def in_unit(ts, unit):
    return ts * 1_000 if unit == "nanoseconds" else ts // UNITS[unit]


@pytest.mark.parametrize("unit", UNITS)
@given(ts=moments)
def test_another_unit_is_never_plausible_and_is_named(unit, ts):
    number = in_unit(ts, unit)
    assert ts in PLAUSIBLE
    assert number not in PLAUSIBLE
    assert f"got {number}, which would be " in PLAUSIBLE.problem(number)
    assert PLAUSIBLE.problem(number).endswith(f"; it looks like {unit}")


def test_the_sentence_says_what_was_expected_and_what_it_would_be():
    assert PLAUSIBLE.problem(NOW // 1_000) == (
        "expected microseconds since the epoch from 1971-01-01 to 9999-12-31, got 1738245371663, "
        "which would be 1970-01-21; it looks like milliseconds"
    )
    assert PLAUSIBLE.problem(0).endswith("got 0, which would be 1970-01-01")
    assert "which would be the year 57052; it looks like nanoseconds" in PLAUSIBLE.problem(NOW * 1_000)


def test_numbers_that_went_through_nanoseconds_are_recognised():
    numbers = np.array([NOW // 1_000, NOW // 1_000_000, NOW // 1_000_000_000], np.int64)
    assert units_of(numbers, "ns", PLAUSIBLE).tolist() == ["milliseconds", "seconds", ""]
    assert units_of(numbers[1:], "us", PLAUSIBLE).tolist() == ["seconds", "seconds read as nanoseconds"]


@given(
    first=st.integers(PLAUSIBLE.earliest, MAX_TS),
    length=st.integers(0, 10**17),
    ts=st.integers(PLAUSIBLE.earliest, MAX_TS),
)
def test_what_was_seen_is_plausible_and_ten_years_around_it_too(first, length, ts):
    last = min(first + length, MAX_TS)
    times = PLAUSIBLE.around(first, last)
    assert first in times
    assert last in times
    ten_years = 10 * 365 * 86_400_000_000
    if first - ten_years <= ts <= last + ten_years or first - (last - first) <= ts <= last + (last - first):
        assert ts in times
    if ts > last + max(last - first, 11 * ten_years // 10):
        assert ts not in times


def test_the_places_outside_are_found():
    ts = np.array([NOW, PLAUSIBLE.earliest, PLAUSIBLE.earliest - 1, MAX_TS, MAX_TS + 1], np.int64)
    assert PLAUSIBLE.outside(ts).tolist() == [2, 4]
    assert PLAUSIBLE.outside(ts[:2]).tolist() == PLAUSIBLE.outside(ts[:0]).tolist() == []


def test_bounds_are_dates_and_the_last_day_counts():
    times = PLAUSIBLE.with_bounds("1960-02-01", "2030-01-31")
    assert str(times) == "from 1960-02-01 to 2030-01-31"
    assert times.latest + 1 == (datetime(2030, 2, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    assert PLAUSIBLE.with_bounds(None, None) == PLAUSIBLE == TimeRange(365 * 86_400_000_000)


@pytest.mark.parametrize(
    "bounds", [("yesterday", None), ("1971", None), (None, "31.12.2030"), ("2030-01-01", "2029-01-01")]
)
def test_bounds_that_are_no_dates_or_leave_nothing_are_named(bounds):
    with pytest.raises(ConfigError, match=r"(earliest|latest)_time.*expected"):
        PLAUSIBLE.with_bounds(*bounds)


def milestone_problem(ts):
    return LIVES.problem(ts) if implausible_milestones(np.asarray([ts], np.int64))[0] else None


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | births))
def test_milestones_are_judged_together_as_each_alone(ts):
    alone = [milestone_problem(each) is not None for each in ts]
    assert implausible_milestones(np.asarray(ts, np.int64)).tolist() == alone


@given(births)
def test_dates_of_birth_are_plausible(birth):
    assert milestone_problem(birth) is None
    # Midnight in a zone of the world.
    assert milestone_problem(birth + 3_600_000_000 * 5 + 1_800_000_000) is None


@pytest.mark.parametrize("unit", ["seconds", "milliseconds"])
@given(ts=st.datetimes(datetime(1971, 6, 1), datetime(2090, 1, 1)).map(
    lambda moment: (moment.replace(tzinfo=UTC, microsecond=1) - EPOCH) // timedelta(microseconds=1)
))  # fmt: skip
def test_milestones_in_another_unit_are_refused_and_the_unit_is_named(unit, ts):
    number = in_unit(ts, unit)
    if number % 900_000_000:
        assert milestone_problem(number) == LIVES.problem(number)
        assert LIVES.problem(number).endswith(f"looks like {unit}")


def test_dates_of_birth_in_milliseconds_are_refused():
    birth = -473_385_600_000
    assert milestone_problem(birth * 1_000) is None
    assert "1969-12-26; it looks like milliseconds" in milestone_problem(birth)
    assert "it looks like nanoseconds" in milestone_problem(birth * 1_000_000)
    assert milestone_problem(LIVES.earliest - 1).startswith("expected microseconds since the epoch from 1600-01-01")


EVENT = {"ts": NOW, "source": "app"}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("path", ["$.events[1].ts", "$.as_of", "$.eval_ts", "$.lifelong[0].ts"])
def test_any_time_of_a_record_in_another_unit_is_named_with_its_place(path, unit):
    record = {"events": [EVENT, dict(EVENT)], "as_of": NOW, "eval_ts": NOW, "lifelong": [{"key": "opened", "ts": NOW}]}
    decode_record(json.dumps(record).encode())
    member = {"$.events[1].ts": record["events"][1], "$.lifelong[0].ts": record["lifelong"][0]}.get(path, record)
    member[path.rsplit(".")[-1]] = in_unit(NOW, unit)
    with pytest.raises(RecordError) as caught:
        decode_record(json.dumps(record).encode())
    assert caught.value.path == path
    assert caught.value.problem.endswith(f"; it looks like {unit}")


@pytest.mark.parametrize(
    ("changes", "path"),
    [({"as_of": -473_385_600_000_000}, "$.as_of"), ({"as_of": -1}, "$.as_of"), ({"eval_ts": -1}, "$.eval_ts"),
     ({"events": [{**EVENT, "ts": 0}]}, "$.events[0].ts"), ({"events": [{**EVENT, "ts": -1}]}, "$.events[0].ts"),
     ({"events": [{**EVENT, "ts": MAX_TS + 1}]}, "$.events[0].ts")],
)  # fmt: skip
def test_moments_before_1971_and_after_9999_are_refused(changes, path):
    with pytest.raises(
        RecordError, match="expected microseconds since the epoch from 1971-01-01 to 9999-12-31"
    ) as caught:
        decode_record(json.dumps({"events": [EVENT], **changes}).encode())
    assert caught.value.path == path


def test_an_unset_moment_and_an_early_milestone_are_fine():
    record = {"events": [EVENT], "as_of": 0, "eval_ts": 0, "lifelong": [{"key": "born", "ts": -473_385_600_000_000}]}
    assert decode_record(json.dumps(record).encode()).lifelong[0].ts == -473_385_600_000_000
    with pytest.raises(RecordError, match="1960-01-01"):
        decode_record(
            json.dumps({"events": [{**EVENT, "ts": -(10**15)}]}).encode(),
            times=PLAUSIBLE.with_bounds("1960-01-01", None),
        )
