from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.tokenizer.times import calendar, log_seconds, timezone_of


def test_log_seconds_is_the_formula():
    elapsed = np.array([0, 1, 8_000_000, 86_400_000_000])
    expected = [8 * np.log(1 + us / 1e6 / 8) for us in elapsed]
    np.testing.assert_allclose(log_seconds(elapsed), expected, rtol=1e-6)
    assert log_seconds(elapsed).dtype == np.float32


@given(
    st.lists(st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)), min_size=1, max_size=20),
    st.sampled_from(["UTC", "Europe/London", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_calendar_is_the_local_one(moments, zone):
    aware = [moment.replace(tzinfo=UTC) for moment in moments]
    hour, day_of_week, day_of_month = calendar(
        np.array([round(moment.timestamp() * 1e6) for moment in aware], np.int64), zone
    )
    local = [moment.astimezone(ZoneInfo(zone)) for moment in aware]
    assert hour.tolist() == [moment.hour for moment in local]
    assert day_of_week.tolist() == [moment.weekday() for moment in local]
    assert day_of_month.tolist() == [moment.day for moment in local]


def test_unknown_zone_is_named():
    with pytest.raises(ConfigError, match="Mars/Olympus"):
        timezone_of("Mars/Olympus")


@pytest.mark.parametrize(("zone", "expected"), [("Asia/Tokyo", (8, 5, 1)), ("UTC", (23, 4, 31))])
def test_the_last_moment_has_a_calendar_everywhere(zone, expected):
    last = np.array([253_402_300_799_999_999], np.int64)
    assert tuple(int(each[0]) for each in calendar(last, zone)) == expected
