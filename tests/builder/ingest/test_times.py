"""Moments in every form that tables bring them in: what is found out, and what is refused because nothing tells."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_triton.errors import ConfigError
from tests.builder.ingest.conftest import CARDS, Said


def read(tables, values, **time):
    """The moments of ``values``, and how they were read."""
    tables.cards(*(f'c{place:03},"{value}",1' for place, value in enumerate(values)))
    report = tables.ingest(events=[CARDS | {"time": {"column": "at", **time}}])
    return tables.times(), report.tables[0].times["at"]


@pytest.mark.parametrize(
    ("value", "moment", "found"),
    [
        ("2025-02-28", "2025-02-28T00:00:00", "iso, as UTC"),
        ("2025-02-28 13:14:15", "2025-02-28T13:14:15", "iso, as UTC"),
        ("2025-02-28T13:14:15.123456", "2025-02-28T13:14:15.123456", "iso, as UTC"),
        ("2025-02-28T13:14:15Z", "2025-02-28T13:14:15", "iso, as UTC, 1 with an offset of their own"),
        ("2025-02-28T13:14:15+02:00", "2025-02-28T11:14:15", "iso, as UTC, 1 with an offset of their own"),
        ("2025/02/28 13:14", "2025-02-28T13:14:00", "ymd, as UTC"),
        ("28/02/2025", "2025-02-28T00:00:00", "dmy, as UTC"),
        ("28.02.2025 13:14", "2025-02-28T13:14:00", "dmy, as UTC"),
        ("28-02-99", "1999-02-28T00:00:00", "dmy, as UTC"),
        ("02/28/2025 1:14 PM", "2025-02-28T13:14:00", "mdy, as UTC"),
        ("28 Feb 2025", "2025-02-28T00:00:00", "dmy, as UTC"),
        ("28-Feb-2025 13:14:15", "2025-02-28T13:14:15", "dmy, as UTC"),
        ("Feb 28, 2025", "2025-02-28T00:00:00", "mdy, as UTC"),
        ("20250228", "2025-02-28T00:00:00", "%Y%m%d, as UTC"),
        ("20250228131415", "2025-02-28T13:14:15", "%Y%m%d%H%M%S, as UTC"),
        ("1740748455", "2025-02-28T13:14:15", "numbers in s"),
        ("1740748455.25", "2025-02-28T13:14:15.250000", "numbers in s"),
        ("1740748455123", "2025-02-28T13:14:15.123000", "numbers in ms"),
        ("1740748455123456", "2025-02-28T13:14:15.123456", "numbers in us"),
        ("1740748455123456789", "2025-02-28T13:14:15.123456", "numbers in ns"),
    ],
)
def test_the_form_is_found_and_said(tables, value, moment, found):
    assert read(tables, [value]) == ([moment], found)


def test_one_value_tells_the_order_of_all(tables):
    assert read(tables, ["03/04/2025", "13/04/2025"])[0] == ["2025-04-03T00:00:00", "2025-04-13T00:00:00"]
    assert read(tables, ["03/04/2025", "04/13/2025"])[0] == ["2025-03-04T00:00:00", "2025-04-13T00:00:00"]


def test_one_value_among_many_thousands_tells_the_order_of_all(tables):
    many = [
        f"{day:02}/{month:02}/{year}" for year in range(1980, 2025) for month in range(1, 13) for day in range(1, 13)
    ]
    assert read(tables, [*many, "04/13/2025"])[1] == "mdy, as UTC"


def test_day_and_month_that_nothing_tells_apart_are_asked_for(tables):
    with pytest.raises(
        ConfigError, match=r"at: '03/04/2025' may be day, month, year or month.* add format: dmy or format: mdy"
    ):
        read(tables, ["03/04/2025", "05/06/2025"])
    assert read(tables, ["03/04/2025"], format="dmy")[0] == ["2025-04-03T00:00:00"]
    assert read(tables, ["03/04/2025"], format="mdy")[0] == ["2025-03-04T00:00:00"]
    assert read(tables, ["03/03/2025"])[0] == ["2025-03-03T00:00:00"]
    with pytest.raises(ConfigError, match="'25-02-28' may be year, month, day or day, month, year"):
        read(tables, ["25-02-28"])
    assert read(tables, ["25-02-28"], format="ymd")[0] == ["2025-02-28T00:00:00"]


def test_what_is_set_is_obeyed(tables):
    assert read(tables, ["2025|59"], format="%Y|%j")[0] == ["2025-02-28T00:00:00"]
    assert read(tables, ["1740748455"], unit="ms")[0] == []
    assert tables.reasons() == [("0", "time is not from 1971-01-01 to 9999-12-31")]


def test_what_is_no_time_is_said_with_an_example(tables):
    with pytest.raises(ConfigError, match="at: no time could be read, such as 'soon'"):
        read(tables, ["soon"])
    with pytest.raises(ConfigError, match=r"at: numbers such as 7 are no times between 1971 and 2100"):
        read(tables, ["7"])
    assert read(tables, ["", ""]) == ([], "no values, as UTC")
    assert tables.reasons() == [("0", "no time"), ("1", "no time")]


def test_local_times_of_a_zone(tables):
    moments, found = read(tables, ["2025-01-15 12:00", "2025-07-15 12:00", "2025-07-15T12:00Z"], zone="Europe/London")
    assert moments == ["2025-01-15T12:00:00", "2025-07-15T11:00:00", "2025-07-15T12:00:00"]
    assert found == "iso, Europe/London, 1 with an offset of their own"


@pytest.mark.parametrize(
    ("zone", "spring", "autumn"),
    [
        ("Europe/London", "2025-03-30 01:30", "2025-10-26 01:30"),
        ("America/New_York", "2025-03-09 02:30", "2025-11-02 01:30"),
        ("Australia/Lord_Howe", "2025-10-05 02:15", "2025-04-06 01:45"),
    ],
)
def test_hours_that_clocks_skip_or_repeat_are_counted(tables, zone, spring, autumn):
    tables.cards(f"c1,{spring},1", f"c1,{autumn},2", "c1,2025-06-01 12:00,3")
    said = Said()
    tables.ingest(events=[CARDS | {"time": {"column": "at", "zone": zone}}], progress=said)
    assert [line.split(": ")[-1] for line in said.lines] == [
        f"of 1 times in {zone} the local time does not exist there and is read as later by the hour that clocks skip",
        f"of 1 times in {zone} the local time comes twice there and is read as the later",
    ]


@pytest.mark.parametrize(
    ("column", "moment"),
    [
        (pa.array([1740748455123], pa.timestamp("ms")), "2025-02-28T12:14:15.123000"),
        (pa.array([1740748455123], pa.timestamp("ms", "UTC")), "2025-02-28T13:14:15.123000"),
        (pa.array([1740748455123456789], pa.timestamp("ns")), "2025-02-28T12:14:15.123456"),
        (pa.array([20147], pa.date32()), "2025-02-27T23:00:00"),
        (pa.array([1740748455], pa.int64()), "2025-02-28T13:14:15"),
        (pa.array([1740748455.5], pa.float64()), "2025-02-28T13:14:15.500000"),
        (pa.array([20250228], pa.int32()), "2025-02-27T23:00:00"),
    ],
)
def test_typed_columns(tables, column, moment):
    pq.write_table(pa.table({"user": ["c1"], "at": column, "amount": [1.5]}), tables.folder / "cards.parquet")
    time = {"column": "at", "zone": "Europe/Berlin"}
    tables.ingest(events=[CARDS | {"table": "cards.parquet", "time": time}])
    assert tables.times() == [moment]


def test_the_machine_s_zone_changes_nothing(tables, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert read(tables, ["2025-02-28 13:14:15", "2025-02-28T13:14:15+00:00"])[0] == ["2025-02-28T13:14:15"] * 2


@pytest.mark.parametrize("value", ["45658.520833333336", "45658,5208333333", "45658.5208333333"])
def test_days_of_a_spreadsheet_are_asked_for_and_read(tables, value):
    with pytest.raises(ConfigError, match=r"at: numbers such as 45658.5.* \(45658 is 2025-01-01\); add unit: excel"):
        read(tables, [value])
    assert read(tables, [value], unit="excel") == (["2025-01-01T12:30:00"], "days of a spreadsheet, as UTC")
    local = read(tables, ["45839.5", "soon", "-1", "9e9"], unit="excel", zone="Europe/London")
    assert local == (["2025-07-01T11:00:00"], "days of a spreadsheet, Europe/London")
    assert tables.reasons() == [(row, "time cannot be read as days of a spreadsheet, Europe/London") for row in "123"]


def test_the_calendar_of_1904_and_days_before_1990_are_read(tables):
    with pytest.raises(ConfigError, match=r"\(20000 is 1954-10-03\); add unit: excel, or unit: excel1904 .*1958-10-04"):
        read(tables, ["20000"])
    assert read(tables, ["44196.5"], unit="excel1904") == (
        ["2025-01-01T12:00:00"], "days of a spreadsheet, calendar of 1904, as UTC",
    )  # fmt: skip


def test_spreadsheet_days_among_written_times_are_named_so(tables):
    read(tables, ["31.01.2025 10:00", "30.01.2025 10:00", "28.01.2025 11:00", "45658.5", "7", "soon"])
    other = "time cannot be read as dmy, as UTC"
    excel = "time is a number, as days of a spreadsheet (Excel) are, and the others are dmy, as UTC"
    assert sorted(tables.reasons()) == [("3", excel), ("4", other), ("5", other)]
