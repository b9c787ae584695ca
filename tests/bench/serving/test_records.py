"""Derived customers keep what costs a server time, and are never twice the same."""

from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.serving.records import Book, Crowd, Customer, introductions, read_records, share_of_new_events, to_json
from pragmatiq_triton.records import Event, Record, decode_record

START = 1_738_000_000_000_000


def payment(ts, amount, merchant):
    return Event(ts, "transaction", {"amount": amount, "merchant": merchant, "mcc": "5411", "country": "LT"})


@pytest.fixture
def record():
    """Nine events, the last three of which say what the first three say."""
    month = [("9.99", "NETFLIX"), ("31.60", "CARREFOUR 2167"), ("4.20", "LIDL 4711")]
    other = [(f"{number}.50", f"SHOP {number}000") for number in range(1, 4)]
    events = [payment(START + 1000 * i, *what) for i, what in enumerate([*month, *other, *month])]
    return Record(events, "u_1", attributes={"country": "LT"}, as_of=START + 20_000)


def contents(record):
    return Counter(msgspec.json.encode((event.source, event.fields)) for event in record.events)


@settings(deadline=None, max_examples=50)
@given(end=st.integers(-20, 40), n_events=st.integers(1, 40))
def test_a_window_has_exactly_so_many_events_in_order_of_time(end, n_events):
    base = Record([payment(100, "1.00", "A 123"), payment(300, "2.00", "B 456")], "u_1")
    window = Customer(base, 7).window(end, n_events)
    assert len(window.events) == n_events
    assert all(one.ts < other.ts for one, other in pairwise(window.events))
    assert window.as_of > window.events[-1].ts


def test_repeated_events_stay_repeated_and_lengths_stay(record):
    derived = Customer(record, 3).window(9, 9)
    assert sorted(contents(derived).values()) == sorted(contents(record).values()) == [1, 1, 1, 2, 2, 2]
    for own, given_event in zip(derived.events, record.events, strict=True):
        assert own.fields.keys() == given_event.fields.keys()
        assert [len(value) for value in own.fields.values()] == [len(value) for value in given_event.fields.values()]
        assert own.fields["mcc"] == "5411"


def test_names_change_together_and_amounts_a_little(record):
    derived = Customer(record, 3).window(9, 9)
    first, second = derived.events[1], derived.events[7]
    assert first.fields == second.fields
    assert first.fields["merchant"].startswith("CARREFOUR ")
    assert first.fields["merchant"] != "CARREFOUR 2167"
    assert derived.events[0].fields["merchant"] == "NETFLIX"
    assert float(first.fields["amount"]) == pytest.approx(31.6, rel=0.035)
    assert derived.user_id != record.user_id


def test_a_customer_is_the_same_whatever_was_asked_first(record):
    one, other = Customer(record, 5), Customer(record, 5)
    other.window(4, 2)
    assert one.window(12, 15) == other.window(12, 15)


def test_customers_differ_from_one_another_and_between_seeds(record):
    crowd, again, reseeded = Crowd([record], 1), Crowd([record], 1), Crowd([record], 2)
    records = [*crowd.cold(30, 6), *crowd.cold(30, 6)]
    assert len({to_json(each) for each in records}) == 60
    assert again.cold(30, 6) == records[:30]
    assert not set(map(to_json, reseeded.cold(30, 6))) & set(map(to_json, records))


def test_long_histories_come_from_the_longest_records(record):
    short = [Record([payment(5, "1.00", "SHORT 100")], f"u_{i}") for i in range(50)]
    crowd = Crowd([*short, *[record] * 12], 0)
    merchants = {event.fields["merchant"][:5] for each in crowd.cold(40, 9) for event in each.events}
    assert "SHORT" not in merchants


def test_each_call_is_one_event_later_than_the_same_customers_last(record):
    book = Book(Crowd([record], 0).customers(5, 6), 6, seed=0)
    last = {known.user_id: known.events for known in book.known()}
    calls = book.calls(200)
    for call in calls:
        assert call.events[:-1] == last[call.user_id][1:]
        last[call.user_id] = call.events
    assert {known.user_id: known.events for known in book.known()} == last


def test_few_customers_call_often(record):
    book = Book(Crowd([record], 0).customers(50, 4), 4, seed=0)
    counts = Counter(call.user_id for call in book.calls(1000)).most_common()
    assert counts[0][1] > 5 * 1000 / 50


def test_introductions_hold_the_strings_but_none_of_the_events(record):
    (introduction,) = introductions([record, record])
    merchants = [event.fields["merchant"] for event in introduction.events]
    assert sorted(merchants) == sorted({event.fields["merchant"] for event in record.events})
    assert not contents(introduction) & contents(record)


def test_share_of_new_events_counts_what_earlier_histories_did_not_hold(record):
    assert share_of_new_events([record]) == 1
    assert share_of_new_events([record, record]) == 0.5
    assert share_of_new_events([]) == 0


def test_records_are_read_from_lines_and_go_out_as_such(record, tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text(f"{to_json(record)}\n{to_json(Record([]))}\n", encoding="utf-8")
    assert read_records([file]) == [record]
    assert decode_record(to_json(record).encode()) == record
