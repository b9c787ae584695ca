import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pragmatiq_triton.errors import LimitError, RecordError
from pragmatiq_triton.records import RecordLimits, decode_record, text_of

NOW = 1_738_245_371_663_128
EVENT = {"ts": NOW, "source": "app", "fields": {"a": "b"}}


def raw(**changes):
    return json.dumps({"user_id": "u", "events": [EVENT], **changes}).encode()


def test_reads_a_whole_record():
    record = decode_record(raw(attributes={"k": 1}, lifelong=[{"key": "x", "ts": 5}], as_of=NOW + 7))
    assert record.events[0].fields == {"a": "b"}
    assert (record.attributes, record.lifelong[0].ts, record.as_of) == ({"k": 1}, 5, NOW + 7)


def test_only_events_are_required():
    record = decode_record(b'{"events": []}')
    assert (record.user_id, record.attributes, record.lifelong, record.as_of) == ("", {}, [], 0)


@pytest.mark.parametrize(
    ("body", "path", "problem"),
    [
        (b"", "$", "JSON"),
        (b"not json", "$", "JSON"),
        (b"[]", "$", "object"),
        (b'{"events": []} more', "$", "JSON"),
        (b'{"events": [], "user_id": "\xff"}', "$", "UTF-8"),
        (b'{"events": [], "user_id": "\\ud800"}', "$", "JSON"),
        (b'{"user_id": "u"}', "$", "events"),
        (raw(events=[{**EVENT, "ts": "1"}]), "$.events[0].ts", "expected int"),
        (raw(events=[EVENT, {**EVENT, "ts": 1.5}]), "$.events[1].ts", "expected int"),
        (raw(events=[{**EVENT, "ts": 10**30}]), "$.events[0].ts", "expected int"),
        (raw(events=[{**EVENT, "source": 3}]), "$.events[0].source", "expected str"),
        (raw(events=[EVENT, {**EVENT, "fields": {"ok": "1", "bad": [1]}}]), "$.events[1].fields.bad", "array"),
        (raw(events=[{**EVENT, "fields": {"bad": {"x": 1}}}]), "$.events[0].fields.bad", "object"),
        (raw(attributes={"fine": None, "bad": {}}), "$.attributes.bad", "object"),
        (raw(lifelong=[{"key": "x"}]), "$.lifelong[0]", "ts"),
        (raw(event=[]), "$", "event"),
        (b'{"events": [{"ts": 1, "source": "a", "fields": {"n": NaN}}]}', "$", "JSON"),
        (b'{"events": [], "x": "\xff"}', "$", "unknown field x"),
        (b'{"events": [], "\xff": 1}', "$", "UTF-8"),
        (b'{"events": [{"ts": "1\xff", "source": "a"}]}', "$.events[0].ts", "expected int, got str"),
        (b'{"events": [{"ts": true, "source": "\xff"}]}', "$.events[0].ts", "expected int, got bool"),
        (b'{"events": [], "attributes": {"a": 1e999, "b": "\xff"}}', "$.attributes.a", "out of range, got 1e999"),
        (b'{"events": [], "attributes": {"ok": "a", "b\\n": {}}}', "$.attributes.b\\n", "got object"),
        (b'{"events": [], "a - at `$.events[0]": 1}', "$", "a - at $.events[0]"),
        (b"\xef\xbb\xbf" + raw(), "$", "JSON"),
        (b'{"events": [], "x": ' + b"[" * 100_000, "$", ""),
        (b'{"events": ' + b"[" * 100_000, "$", ""),
        (b'{"events": [{"ts": 1, "source": "a", "fields": {"n": ' + b"9" * 5000 + b"}}]}", "$", ""),
    ],
)  # fmt: skip
def test_malformed_records_name_path_and_problem(body, path, problem):
    with pytest.raises(RecordError) as caught:
        decode_record(body)
    assert caught.value.path.startswith(path)
    assert problem in caught.value.problem


NASTY = [
    "\x00",
    "\n",
    "\x1b[31m",
    "\u202e",
    "`",
    "🏴",
    "é",
    "\\ud800",
    "\\u0000",
    " - at `$.events[0]`",
    "x" * 3_000,
    "{",
    "9" * 500,
]
VALUES = [
    "1",
    "-1",
    '"a"',
    "[]",
    "{}",
    "null",
    "1e999",
    "9" * 40,
    "1.5",
    '"' + "ü" * 5_000 + '"',
    '"\\ud800"',
    "tru",
    "NaN",
]
TEMPLATES = [
    '{"events":[{"ts":VALUE,"source":"a","fields":{"NAME":1}}]}', '{"events":[{"ts":1,"source":VALUE}]}',
    '{"events":[{"ts":1,"source":"a","fields":{"ok":1,"NAME":VALUE}}]}', '{"events":[],"NAME":VALUE}',
    '{"events":[],"attributes":{"NAME":VALUE}}', '{"events":[{"ts":1,"source":"NAME","NAME":VALUE}]}',
    '{"events":[],"lifelong":[{"key":"NAME","ts":VALUE}]}', '{"events":VALUE,"attributes":{"NAME":"NAME"}}', "VALUE",
    '{"events":[],"as_of":VALUE,"as_of":1}', '{"events":[],"user_id":VALUE,"attributes":{"NAME":"NAMENAME"}}',
]  # fmt: skip


@st.composite
def hostile(draw):
    """A record with hostile names and values, and sometimes a few bytes changed."""
    raw = draw(st.sampled_from(TEMPLATES)).replace("VALUE", draw(st.sampled_from(VALUES)))
    names = draw(st.lists(st.sampled_from(NASTY), min_size=1, max_size=3))
    raw = raw.replace("NAME", "".join(names)).encode("utf-8", "surrogatepass")
    start = draw(st.integers(0, len(raw)))
    return raw[:start] + draw(st.just(b"") | st.binary(max_size=3)) + raw[start + draw(st.integers(0, 2)) :]


def refusal(body, limits):
    """Why the record is refused; empty where it is not."""
    try:
        decode_record(body, limits)
    except RecordError as error:
        return str(error)
    return ""


@settings(max_examples=500)
@given(hostile() | st.binary(max_size=60))
def test_whatever_comes_only_short_printable_record_errors_leave(body):
    for limits in (
        RecordLimits(),
        RecordLimits(max_record_bytes=20_000, max_events=0, max_fields=1, max_string_bytes=9),
    ):
        message = refusal(body, limits)
        assert message.isprintable()
        assert len(message.encode()) <= 1_000


@pytest.mark.parametrize(
    ("content", "limit"),
    [
        ({"events": [{**EVENT, "fields": {f"f{i}": i for i in range(4_097)}}]}, "max_event_fields = 4096"),
        ({"attributes": {f"f{i}": i for i in range(4_097)}}, "max_profile_items = 4096"),
        ({"attributes": {"a": 1}, "lifelong": [{"key": "x", "ts": 0}] * 4_096}, "max_profile_items = 4096"),
    ],
)
def test_what_is_encoded_in_one_go_is_bounded(content, limit):
    with pytest.raises(LimitError, match=f"409\\d.* over the limit {limit}"):
        decode_record(raw(**content))


def test_the_first_milestone_that_is_not_plausible_is_named():
    lifelong = [{"key": "birth", "ts": 0}, {"key": "a", "ts": 2**62}, {"key": "b", "ts": -(2**63)}]
    with pytest.raises(RecordError, match=rf"^\$\.lifelong\[1\]\.ts: expected microseconds .* got {2**62}"):
        decode_record(raw(lifelong=lifelong))


def test_over_a_limit_names_the_limit():
    limits = RecordLimits(max_record_bytes=200, max_events=1, max_fields=2, max_string_bytes=4)
    for body, limit in [
        (raw(user_id="x" * 200), "max_record_bytes"),
        (raw(events=[EVENT, EVENT]), "max_events"),
        (raw(attributes={"a": "1", "b": "2"}), "max_fields"),
        (raw(attributes={"a": "12345"}), "max_string_bytes"),
        (raw(events=[{**EVENT, "fields": {"a": "ééé"}}]), "max_string_bytes"),
        (raw(events=[{**EVENT, "source": "12345"}]), "max_string_bytes"),
    ]:
        with pytest.raises(LimitError, match=limit):
            decode_record(body, limits)
    assert decode_record(raw(attributes={"a": "1234"}), limits).attributes == {"a": "1234"}


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), (None, ""), (12.5, "12.5"), (5411, "5411"), (True, "True"), ("", "")]
)
def test_values_become_strings(value, text):
    assert text_of(value) == text


def test_a_member_that_is_there_twice_is_still_explained():
    with pytest.raises(RecordError, match=r"\$\.events\[0\]\.source: expected `?str"):
        decode_record(b'{"events":[{"ts":1,"source":7}],"events":[]}')
