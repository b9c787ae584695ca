"""What a record may hold, and what becomes of it on the wire."""

import enum
import json
import uuid
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from pragmatiq_client import Event, InvalidRecordError, Milestone, Record, micros
from pragmatiq_client.wire import encode_record
from pragmatiq_triton.records import decode_record

TS = 1738230171663128
MOMENT = datetime(2025, 1, 30, 9, 42, 51, 663128, tzinfo=UTC)


class Timestamp(datetime):
    """Stands in for pandas' own: a datetime with nanoseconds."""

    nanosecond = 0


class Colour(enum.Enum):
    RED = "red"


def missing(name: str) -> Any:
    """pandas' NA or NaT: known by the name of their type, and equal to nothing."""
    kind = type(name, (), {"__eq__": lambda self, other: False, "__hash__": None})
    kind.__module__ = "pandas._libs.missing"
    return kind()


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (MOMENT, TS),
        (MOMENT.astimezone(ZoneInfo("America/New_York")), TS),
        (MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))), TS),
        (Timestamp(2025, 1, 30, 9, 42, 51, 663128, tzinfo=UTC), TS),
        (datetime(1955, 5, 5, tzinfo=UTC), -462672000000000),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 253402300799999999),
        (datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1), 1761442200000000),
        (date(1970, 1, 2), 86_400_000_000),
        (date(1955, 5, 5), -462672000000000),
        (np.datetime64("2025-01-30T09:42:51.663128"), TS),
        (np.datetime64("2025-01-30T09:42:51.663128000", "ns"), TS),
        (np.datetime64("1970-01-02", "D"), 86_400_000_000),
        (np.datetime64("1971", "Y"), 31_536_000_000_000),
        ("2025-01-30T09:42:51.663128Z", TS),
        ("2025-01-30 10:42:51.663128000+01:00", TS),
        ("1970-01-02", 86_400_000_000),
    ],
)
def test_moments_are_exact_microseconds(moment: Any, expected: int) -> None:
    found = micros(moment)
    assert found == expected
    assert type(found) is int


@pytest.mark.parametrize(
    ("moment", "kind", "problem"),
    [
        (datetime(2025, 1, 30), ValueError, "expected a time zone, got '2025-01-30 00:00:00' without one"),
        ("2025-01-30T09:42:51", ValueError, "expected a time zone"),
        ("yesterday", ValueError, "expected ISO 8601 text"),
        ("2025-01-30T09:42:51.6631281Z", ValueError, "whole microseconds"),
        (np.datetime64("2025-01-30T09:42:51.663128001"), ValueError, "whole microseconds"),
        (np.datetime64("NaT"), ValueError, "NaT"),
        (np.datetime64("20000-01-01", "D"), ValueError, "years 1 to 9999"),
        (TS, TypeError, "got int, which does not say its unit"),
        (np.int64(TS), TypeError, "does not say its unit"),
        (1.5, TypeError, "does not say its unit"),
        (None, TypeError, "got NoneType"),
        (time(1, 2), TypeError, "got time"),
    ],
)
def test_moments_that_are_none_say_why(moment: Any, kind: type[Exception], problem: str) -> None:
    with pytest.raises(kind, match=problem):
        micros(moment)


def test_a_nanosecond_is_not_dropped_in_silence() -> None:
    finer = Timestamp(2025, 1, 30, tzinfo=UTC)
    finer.nanosecond = 7
    with pytest.raises(ValueError, match="whole microseconds"):
        micros(finer)


def sent(record: Any) -> Any:
    return json.loads(encode_record(record, 0))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("24.32", "24.32"),
        (12, 12),
        (2**70, 2**70),
        (12.5, 12.5),
        (True, True),
        (None, None),
        (float("nan"), None),
        (np.float64("nan"), None),
        (np.float32("nan"), None),
        (Decimal("NaN"), None),
        (np.datetime64("NaT"), None),
        (Decimal("24.3200"), "24.3200"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-0.000000001"), "-0.000000001"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (MOMENT, "2025-01-30T09:42:51.663128+00:00"),
        (datetime(2025, 1, 30, 9), "2025-01-30T09:00:00"),
        (date(2025, 1, 30), "2025-01-30"),
        (time(9, 42), "09:42:00"),
        (np.datetime64("2025-01-30T09:42"), "2025-01-30T09:42"),
        (np.int64(-7), -7),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("TESCO"), "TESCO"),
        (np.array(3), 3),
        (Colour.RED, "red"),
        (b"caf\xc3\xa9", "café"),
        (missing("NAType"), None),
        (missing("NaTType"), None),
    ],
)
def test_values_of_python_numpy_and_pandas(value: Any, expected: Any) -> None:
    record = {
        "user_id": "1",
        "events": [{"ts": TS, "source": "t", "fields": {"a": value}}],
        "attributes": {"b": value},
    }
    found = sent(record)
    assert found["events"][0]["fields"]["a"] == found["attributes"]["b"] == expected
    assert type(found["attributes"]["b"]) is type(expected)
    decode_record(encode_record(record, 0))  # the server reads it


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (MOMENT, TS),
        (np.datetime64("2025-01-30T09:42:51.663128"), TS),
        (date(2020, 1, 2), 1577923200000000),
        (np.int64(TS), TS),
        (np.float64(TS), TS),
        (TS, TS),
    ],
)
def test_moments_of_a_record(moment: Any, expected: int) -> None:
    record = {
        "user_id": uuid.UUID(int=5),
        "events": [{"ts": moment, "source": "t"}],
        "lifelong": [{"key": "opened", "ts": moment}],
        "as_of": moment,
        "eval_ts": moment,
    }
    read = decode_record(encode_record(record, 0))
    assert read.events[0].ts == read.lifelong[0].ts == read.as_of == read.eval_ts == expected
    assert read.user_id == "00000000-0000-0000-0000-000000000005"


@pytest.mark.parametrize(("user_id", "expected"), [(42, "42"), (np.int64(42), "42"), ("42", "42"), (Colour.RED, "red")])
def test_user_ids_are_text(user_id: Any, expected: str) -> None:
    assert sent({"user_id": user_id, "events": []})["user_id"] == expected


@pytest.mark.parametrize(
    ("record", "path", "problem"),
    [
        ({"events": [], "x": [1, {1}]}, "$.x[1]", "got a set"),
        ({"events": [{}, {"fields": {"amount": {1}}}]}, "$.events[1].fields.amount", "expected a string, number"),
        ({"events": [{"fields": {"a b": 1j}}]}, "$.events[0].fields.'a b'", "got a complex"),
        ({"attributes": {"a": float("inf")}}, "$.attributes.a", "expected a finite number, got inf"),
        ({"attributes": {"a": Decimal("-Infinity")}}, "$.attributes.a", "expected a finite number"),
        ({"attributes": {"a": timedelta(1)}}, "$.attributes.a", "got a timedelta"),
        ({"attributes": {"a": b"\xff"}}, "$.attributes.a", "expected text in UTF-8"),
        ({"attributes": {"a": "\ud800"}}, "$.attributes.a", "half a surrogate pair at character 0"),
        ({"attributes": {"a": Decimal(1), "b": [1]}}, "$.attributes.b", "got a list"),
        ({"attributes": {("a",): 1}}, "$.attributes", "expected text for a key, got a tuple"),
        ({"attributes": {1: Decimal(1), "1": 2}}, "$.attributes", "two keys are written as '1'"),
        ({"attributes": {np.str_("a"), 1}}, "$.attributes", "expected a mapping, got a set"),
        ({"events": [{"ts": datetime(2025, 1, 30)}]}, "$.events[0].ts", "expected a time zone"),
        ({"events": [{"ts": float("nan")}]}, "$.events[0].ts", "expected a moment, got a float (a missing value)"),
        ({"events": [{"ts": missing("NaTType")}]}, "$.events[0].ts", "expected a moment, got a NaTType"),
        ({"events": [{"ts": Decimal(5)}]}, "$.events[0].ts", "got a Decimal"),
        ({"lifelong": [{"ts": datetime(2025, 1, 30)}]}, "$.lifelong[0].ts", "expected a time zone"),
        ({"as_of": datetime(2025, 1, 30)}, "$.as_of", "expected a time zone"),
        ({"events": {1}}, "$.events", "expected a list, got a set"),
        ({"events": [5, {1}]}, "$.events[0]", "expected a mapping, got an int"),
        ({"user_id": 42.0, "events": []}, "$.user_id", "ids that were read as floats have lost their spelling"),
        ({"user_id": None, "events": []}, "$.user_id", "expected text, a whole number or a UUID"),
        ({"user_id": True, "events": []}, "$.user_id", "expected text"),
    ],
)
def test_what_cannot_be_sent_is_named_by_its_path(record: Any, path: str, problem: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        encode_record(record, 4)
    error = caught.value
    assert (error.stage, error.row, error.path) == ("client", 4, path)
    assert problem in error.message


def test_a_record_within_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(InvalidRecordError, match="levels deep, or within itself"):
        encode_record(loop, 0)


def test_typed_record_is_what_the_server_reads() -> None:
    record = Record(
        user_id=42,
        events=[
            Event(MOMENT, "transaction", {"amount": Decimal("24.32"), "merchant": None}),
            {"ts": TS + 1, "source": "t"},
        ],
        attributes=MappingProxyType({"country": "GB", "age": np.int8(42)}),
        lifelong=(Milestone("opened", date(2023, 8, 29)),),
        as_of=MOMENT,
    )
    read = decode_record(encode_record(record, 0))
    assert read.user_id == "42"
    assert [(event.ts, event.source, event.fields) for event in read.events] == [
        (TS, "transaction", {"amount": "24.32", "merchant": None}),
        (TS + 1, "t", {}),
    ]
    assert read.attributes == {"country": "GB", "age": 42}
    assert [(milestone.key, milestone.ts) for milestone in read.lifelong] == [("opened", 1693267200000000)]
    assert (read.as_of, read.eval_ts) == (TS, 0)
    assert decode_record(encode_record(Record([]), 0)).as_of == 0


def test_containers_of_other_kinds() -> None:
    events = np.empty(1, object)
    events[0] = OrderedDict(ts=MOMENT, source="t", fields=MappingProxyType({"a": 1}))
    assert sent({"events": events})["events"] == [{"ts": TS, "source": "t", "fields": {"a": 1}}]
