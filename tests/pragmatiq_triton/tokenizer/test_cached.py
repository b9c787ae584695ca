"""The cached tokenizer is held to the plain one: the same numbers to the bit, the same errors to the word."""

import gc
import json
import re
import tracemalloc
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_builder.raw.records import read_records
from pragmatiq_triton.batch import Event
from pragmatiq_triton.cache.fingerprints import Fingerprints
from pragmatiq_triton.errors import RecordError
from pragmatiq_triton.records import RecordLimits, decode_record
from pragmatiq_triton.time_range import LIVES, MAX_TS, PLAUSIBLE
from pragmatiq_triton.tokenizer import Tokenizer, Vocabulary
from pragmatiq_triton.tokenizer.cached import CachedTokenizer
from pragmatiq_triton.tokenizer.own_features import OwnFeatures
from tests.conftest import RECORDS, UPSTREAM

BIRMINGHAM = Path(__file__).parents[2] / "data" / "birmingham"
PLENTY = 1 << 26
LIMITS = RecordLimits()
STATE = {
    "format_version": 1,
    "key_vocab": {"source": 5, "amount": 6, "shop": 7, "memo": 8, "country": 9, "opened": 10},
    "field_kind": {
        "source": "categorical", "amount": "numeric", "shop": "text", "memo": "text", "country": "categorical",
        "opened": "categorical", "no id": "categorical",
    },
    "cat_vocab": {"source": {"card": 11, "app": 12}, "country": {"GB": 13}, "opened": {"opened": 14}},
    "binners": {"amount": {"n_buckets": 2, "edges": [10.0]}},
    "binner_base": {"amount": 15},
    "bpe_offset": 18,
    "vocab_size": 18,
}  # fmt: skip


def small_tokenizer(mode, format_version=1, **changes):
    settings = {"text_value_mode": mode, "max_event_tokens": 3, "max_events_per_user": 5, "max_profile_tokens": 3}
    settings |= changes
    state = {**STATE, "config": settings, "format_version": format_version, "number_keys": ["amount", "memo"]}
    return Tokenizer(Vocabulary(state, None), "all", OwnFeatures(["bureau", "limit"]))


def cached(tokenizer, max_bytes=PLENTY, limits=LIMITS):
    return CachedTokenizer(tokenizer, limits, max_bytes, Fingerprints(bytes(32)))


def numbers(user):
    arrays = (user.tokens, user.events, user.profile, user.profile_times, user.features)
    return [(array.dtype, array.shape, array.tobytes()) for array in arrays], user.texts


def outcome(read, raw):
    """What ``read`` makes of a record: its numbers, or its error."""
    try:
        return numbers(read(raw))
    except Exception as error:
        return type(error), str(error)


def plain(tokenizer, limits=LIMITS):
    return lambda raw: tokenizer(decode_record(raw, limits))


def contents(user):
    """Each event's tokens and strings, as the event encoder is given them."""
    events = np.split(user.tokens, np.cumsum(user.events[:, Event.TOKENS].astype(int))[:-1])
    return [
        (rows[:, :3].tobytes(), tuple(user.texts[i] if i >= 0 else None for i in rows[:, 3].tolist()))
        for rows in events[: len(user.events)]
    ]


words = st.sampled_from(
    ["", "nan", "5.0", "GB", "card", "a b", "é", '"', '\\"source":', "日本 🍕", "12", "-3.5", "x" * 9, "{", "}"]
)
scalars = words | st.integers(-5, 50) | st.floats(-50, 50) | st.booleans() | st.none()
NOW = 1_738_245_371_663_128
moments = st.integers(NOW, NOW + 40) | st.sampled_from([PLAUSIBLE.earliest, MAX_TS])
some_fields = st.dictionaries(st.sampled_from([*STATE["field_kind"], "never seen", "fields"]), scalars, max_size=5)
events = st.fixed_dictionaries(
    {"ts": moments, "source": st.sampled_from(["card", "app", "é", "source"])}, optional={"fields": some_fields}
)
milestones = st.fixed_dictionaries(
    {"key": st.sampled_from(["opened", "new"]), "ts": moments | st.sampled_from([LIVES.earliest, 0])}
)
records = st.fixed_dictionaries(
    {"events": st.lists(events, max_size=8)},
    optional={
        "user_id": words,
        "attributes": some_fields,
        "lifelong": st.lists(milestones, max_size=3),
        "as_of": st.integers(NOW - 3, NOW + 50) | st.sampled_from([0, MAX_TS]),
        "eval_ts": st.integers(NOW - 3, NOW + 50) | st.sampled_from([0, MAX_TS]),
        "features": st.dictionaries(
            st.sampled_from(
                ["bureau", "limit", "other", '"'],
            ),
            st.floats(-1e300, 1e300) | st.integers(-(2**70), 2**70) | st.booleans() | st.none() | words,
            max_size=3,
        ),
    },
)
spellings = st.fixed_dictionaries(
    {"ensure_ascii": st.booleans(), "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")])}
)
raws = st.builds(lambda record, spelling: json.dumps(record, **spelling).encode(), records, spellings)

SCARS = [
    (b'"source"', b'"source": 5, "source"'), (b'"source"', b'"sourc\\u0065": "a", "source"'),
    (b'"source"', b'"sourc\\u0065"'), (b'"source"', b'"more": 1, "source"'), (b'"fields"', b'"fields": 1, "fields"'),
    (b'"fields"', b'"fields": {"a": "\xff"}, "fields"'), (b'"ts"', b'"ts": 1, "ts"'), (b'"source"', b'"other"'),
    (b'"events"', b'"events": [{"ts": 1, "source": 7}], "events"'), (b'"user_id"', b'"user_id": 3, "user_id"'),
    (b'"attributes"', b'"attributes": null, "attributes"'), (b'"eval_ts"', b'"eval_ts": -1, "eval_ts"'),
    (b'"card"', b'"\xff"'), (b'"card"', b"null"), (b'"card"', b'"\\ud800"'), (b'"GB"', b'["GB"]'), (b'"GB"', b'"\xc3"'),
    (b'"GB"', b"1e999"), (b'"GB"', b"NaN"), (b'"amount"', b'"amount": [], "amount"'), (b"{", b"{{"), (b"}", b"} "),
    (b"[", b"[null,"), (b'"', b"'"), (b": 1", b": 1.0"), (b": 1", b": 01"),
    *((name, name + moment) for name in (b'"ts": ', b'"as_of": ', b'"eval_ts": ') for moment in (b"-", b"9", b"0, ")),
    (b"663128", b"663"), (b"371663128", b"371"), (b"663128", b"663128000"), (b'"ts": 17', b'"ts": -17'),
]  # fmt: skip


@st.composite
def broken(draw):
    """A record with one thing wrong, or with a member twice."""
    raw = draw(raws)
    if draw(st.booleans()):
        old, new = draw(st.sampled_from(SCARS))
        places = raw.count(old)
        skipped = draw(st.integers(0, max(places - 1, 0)))
        head = old.join(raw.split(old)[: skipped + 1])
        return head + raw[len(head) :].replace(old, new, 1)
    start = draw(st.integers(0, len(raw)))
    stop = draw(st.integers(start, min(start + 6, len(raw))))
    return raw[:start] + draw(st.binary(max_size=2) | st.just(raw[start:stop] * 2)) + raw[stop:]


@pytest.fixture(scope="module", params=[("bpe", 1), ("embed", 1), ("embed", 2)], ids=["bpe", "embed", "embed-rules"])
def small(request):
    return small_tokenizer(*request.param)


@pytest.fixture(scope="module", params=["bpe", "embed"])
def upstream(request):
    return Tokenizer.load(UPSTREAM / request.param / "run" / "tokenizer", "all")


@given(st.lists(raws | broken(), min_size=1, max_size=4))
def test_any_record_comes_out_as_it_would_without_a_cache(small, batch):
    expected = [outcome(plain(small), raw) for raw in batch]
    for max_bytes in (PLENTY, 6_000, 0):
        tokenizer = cached(small, max_bytes)
        for _ in range(2):
            assert [outcome(tokenizer, raw) for raw in batch] == expected


BASES = [
    {"events": [{"ts": NOW + 3, "source": "card", "fields": {"shop": "a", "amount": 3}},
                {"ts": NOW + 5, "source": "app"}]},
    {"events": [{"ts": NOW + 3, "source": "app", "fields": {"country": "GB"}}], "attributes": {"country": "GB"},
     "as_of": NOW + 7},
    {"events": [], "lifelong": [{"key": "opened", "ts": 2}], "attributes": {"opened": "opened"}, "eval_ts": NOW + 6},
    {"events": [{"ts": NOW + 9, "source": "card", "fields": {}}], "lifelong": [{"key": "opened", "ts": 2}]},
]  # fmt: skip
MEMBERS = [
    b'"events"', b'"attributes"', b'"lifelong"', b'"fields"', b'"source"', b'"ts"', b'"key"', b'"as_of"', b'"eval_ts"',
    b'"user_id"', b'"never"', b'"f\\u0069elds"', b'"\\u0065vents"', b'"country"',
]  # fmt: skip
VALUES = [
    b"0", b"-0", b"1.0", b"1e3", b"1E0", b"-1", b"007", b"1_0", b"5.", b".5", b"true", b"null", b'"3"', b'""', b"[]",
    b"{}", b"9" * 19, b"9" * 20, b"9" * 60, str(MAX_TS).encode(), str(MAX_TS + 1).encode(), str(-MAX_TS - 1).encode(),
    b"-5",
    b'"\\u0047B"', b'"GB"', b'"\\ud83c\\udf55"', b'"\\ud800"', b'{"country": "GB"}', b'[{"key": "opened", "ts": 2}]',
    b'{"a": 1, "a": "x"}', b'["GB"]', b"NaN", b"Infinity", b"1e999", b'{"opened": "opened"}', b"2", b"6", b"7",
    *(str(NOW + late).encode() for late in (2, 6, 7)), str(NOW // 1000).encode(), str(NOW * 1000).encode(),
]  # fmt: skip
ENDS = [b"", b" ", b"\n", b"x", b"{}", b"\x00", b"}", b","]
_NAME, _VALUE = re.compile(rb'"[^"]*"(?=\s*:)'), re.compile(rb'(?<=: )(?:"[^"]*"|-?\d+|\{[^{}]*\}|\[[^\[\]]*\])')
_GAP, _MEMBER = re.compile(rb"[,:{}\[\]]"), re.compile(rb'"\w+": (?:"[^"]*"|-?\d+|\{[^{}]*\})(?=[,}])')


def mutated(rng):
    """A base record with up to three things changed, each of which may or may not break the contract."""
    base = dict(BASES[rng.integers(len(BASES))])
    raw = json.dumps({name: base[name] for name in rng.permutation(sorted(base)).tolist()}).encode()

    def choose(options):
        return options[rng.integers(len(options))]

    def change(pattern, made):
        places = list(pattern.finditer(raw))
        if not places:
            return raw
        place = choose(places)
        return raw[: place.start()] + made(place[0]) + raw[place.end() :]

    changes = [
        lambda: change(_NAME, lambda _: choose(MEMBERS)),
        lambda: change(_VALUE, lambda _: choose(VALUES)),
        lambda: change(_GAP, lambda old: old + choose([b" ", b"\t\n", b"  ", b",", b"\xef\xbb\xbf", b"\xff"])),
        lambda: change(_MEMBER, lambda old: old + b", " + choose([old, choose(MEMBERS) + b": " + choose(VALUES)])),
        lambda: change(_MEMBER, lambda old: choose(MEMBERS) + b": " + choose(VALUES) + b", " + old),
        lambda: choose([b"", b" ", b"\xef\xbb\xbf"]) + raw + choose(ENDS),
    ]
    for _ in range(rng.integers(0, 4)):
        raw = choose(changes)()
    return raw


def test_ten_thousand_mutated_records_get_the_answer_that_no_cache_gives(small):
    """With the fixture's two modes, 20,000; valid ones among them have filled the caches that the others meet."""
    rng = np.random.default_rng(11)
    kept, uncached, reference = cached(small), cached(small, 0), plain(small)
    refused = 0
    for number in range(10_000):
        raw = mutated(rng)
        expected = outcome(reference, raw)
        refused += expected[0] is RecordError
        assert outcome(kept, raw) == expected, raw
        if number % 5 == 0:
            assert outcome(uncached, raw) == expected, raw
    assert 2_000 < refused < 8_000
    assert kept.events.hits > 2_000
    assert kept.profiles.hits > 2_000


@pytest.mark.parametrize(
    ("valid", "broken"),
    [
        ({"attributes": {"country": "GB"}}, {"lifelong": {"country": "GB"}}),
        ({"lifelong": [{"key": "opened", "ts": 1}]}, {"attributes": [{"key": "opened", "ts": 1}]}),
        ({"attributes": {}}, {"lifelong": {}}),
        ({"lifelong": []}, {"attributes": []}),
    ],
)
def test_a_profile_that_breaks_the_contract_is_refused_whatever_is_kept(small, valid, broken):
    tokenizer = cached(small)
    tokenizer(json.dumps({"events": [], **valid}).encode())
    raw = json.dumps({"events": [], **broken}).encode()
    assert outcome(tokenizer, raw) == outcome(plain(small), raw)
    with pytest.raises(RecordError, match=f"{next(iter(broken))}: expected"):
        tokenizer(raw)


@given(
    st.lists(raws, min_size=1, max_size=3),
    st.builds(
        RecordLimits,
        max_record_bytes=st.integers(0, 1500),
        max_events=st.integers(0, 8),
        max_fields=st.integers(0, 30),
        max_event_fields=st.integers(0, 6),
        max_profile_items=st.integers(0, 6),
        max_string_bytes=st.integers(0, 12),
    ),
)
def test_limits_hold_for_what_is_known_as_for_what_is_new(small, batch, limits):
    tokenizer = cached(small, limits=limits)
    for _ in range(2):
        for raw in batch:
            assert outcome(tokenizer, raw) == outcome(plain(small, limits), raw)


@given(st.lists(raws, min_size=1, max_size=4))
def test_keys_are_equal_where_the_contents_are(small, batch):
    tokenizer = cached(small)
    users = [tokenizer(raw) for raw in batch if isinstance(outcome(plain(small), raw)[0], list)]
    assert all(user.event_keys.dtype == np.uint64 for user in users)
    assert [user.event_keys.shape for user in users] == [(len(user.events), 2) for user in users]
    keys = [tuple(key) for user in users for key in user.event_keys.tolist()]
    seen = [content for user in users for content in contents(user)]
    assert len(set(keys)) == len(set(seen)) == len({*zip(keys, seen, strict=True)})


@pytest.mark.parametrize(
    "raw", [RECORDS[2], b'{"events": [{"ts": 1738245371663128, "ts": 1738245371663129, "source": "transaction"}]}']
)
def test_keys_do_not_depend_on_the_way_or_the_cache(upstream, raw):
    tokenizers = [cached(upstream), cached(upstream, 0)]
    keys = [tokenizer(raw).event_keys for tokenizer in tokenizers for _ in range(2)]
    compact = cached(upstream)(msgspec.json.encode(msgspec.json.decode(raw))).event_keys
    assert all(np.array_equal(each, compact) for each in keys)
    other = CachedTokenizer(upstream, LIMITS, 0, Fingerprints(bytes([1]) * 32))
    assert not np.isin(other(raw).event_keys, compact).any()


def test_real_records_come_out_as_they_would_without_a_cache(upstream):
    birmingham = [msgspec.json.encode(record) for record in islice(read_records(BIRMINGHAM), 40)]
    plenty, tiny = cached(upstream), cached(upstream, 30_000)
    for _ in range(2):
        for raw in (*RECORDS, *birmingham):
            expected = outcome(plain(upstream), raw)
            assert outcome(plenty, raw) == expected
            assert outcome(tiny, raw) == expected
            assert tiny.events.n_bytes + tiny.profiles.n_bytes <= 30_000
    assert plenty.events.evictions == 0 < tiny.events.evictions


def record_of(*events, **more):
    return json.dumps(
        {"events": [{"ts": NOW + ts, "source": "card", "fields": fields} for ts, fields in events], **more}
    )


def test_the_same_content_at_another_time_is_known(small):
    tokenizer = cached(small)
    tokenizer(record_of((5, {"shop": "a"}), (6, {"shop": "b"})).encode())
    assert (tokenizer.events.hits, tokenizer.events.misses) == (0, 2)
    user = tokenizer(record_of((7, {"shop": "b"}), (8, {"shop": "c"}), (9, {"shop": "a"})).encode())
    assert (tokenizer.events.hits, tokenizer.events.misses) == (2, 3)
    assert user.texts == (("b", "c", "a") if small.config.embeds_text else ())
    assert tokenizer.profiles.hits == 1


def test_another_spelling_is_only_unknown(small):
    tokenizer = cached(small)
    raw = record_of((5, {"shop": "a"})).encode()
    spaced = raw.replace(b'"shop": ', b'"shop":   ')
    assert np.array_equal(tokenizer(raw).event_keys, tokenizer(spaced).event_keys)
    assert (tokenizer.events.hits, tokenizer.events.misses) == (0, 2)
    tokenizer(raw.replace(b'"ts": ', b'"ts":   '))
    assert tokenizer.events.hits == 1


def test_a_bad_event_is_not_kept(small):
    tokenizer = cached(small)
    bad = record_of((5, {"shop": "a"}), (6, {"shop": ["b"]})).encode()
    for _ in range(2):
        with pytest.raises(RecordError, match=r"\$\.events\[1\]\.fields\.shop"):
            tokenizer(bad)
    assert len(tokenizer.events) == len(tokenizer.profiles) == 0


def test_a_users_arrays_are_not_the_caches(small):
    tokenizer = cached(small)
    raw = record_of((5, {"shop": "a"}), attributes={"country": "GB"}).encode()
    before = numbers(tokenizer(raw))
    user = tokenizer(raw)
    user.tokens[:] = 99
    with pytest.raises(ValueError, match="read-only"):
        user.profile[:] = 99
    assert numbers(tokenizer(raw)) == before


class Given:
    """Notes the events that are encoded, and lets them be."""

    def __init__(self, tokenizer, monkeypatch):
        self.events = []
        encode = tokenizer.encode_events

        def encode_events(events):
            self.events.append([*events])
            return encode(events)

        monkeypatch.setattr(tokenizer, "encode_events", encode_events)


@pytest.mark.parametrize("whole", [False, True])
def test_a_large_record_is_encoded_in_pieces_and_only_what_the_network_sees(small, monkeypatch, whole):
    given = Given(small, monkeypatch)
    raw = record_of(*((ts, {"shop": f"{ts}" + "x" * 9_000, "memo": "y" * 6_000}) for ts in range(20)), eval_ts=NOW + 12)
    raw = (raw[:-1] + ', "user_id": "a", "user_id": "b"}').encode() if whole else raw.encode()
    tokenizer = cached(small)
    steps = tokenizer.steps(raw, tokenizer.split(raw))
    n_pieces = sum(1 for _ in steps)
    assert [[event.ts - NOW for event in events] for events in given.events] == [[ts] for ts in range(7, 12)]
    assert n_pieces >= (5 if whole else 20)
    assert outcome(tokenizer, raw) == outcome(plain(small), raw)


def test_two_records_that_take_turns_come_out_as_each_alone(small):
    tokenizer = cached(small)
    shared = [(ts, {"shop": f"{ts}" + "x" * 9_000}) for ts in range(20)]
    raws = [record_of(*shared).encode(), record_of(*shared, attributes={"country": "GB"}).encode()]
    works = [tokenizer.steps(raw, tokenizer.split(raw)) for raw in raws]
    users = {}
    while len(users) < 2:
        for number, work in enumerate(works):
            try:
                next(work)
            except StopIteration as end:
                users.setdefault(number, end.value)
    assert [numbers(users[number]) for number in (0, 1)] == [numbers(plain(small)(raw)) for raw in raws]
    alone = cached(small)
    alone(raws[0])
    assert (len(tokenizer.events), tokenizer.events.n_bytes) == (len(alone.events), alone.events.n_bytes)


def test_totals_say_what_was_read_and_cut(small):
    tokenizer = cached(small)
    events = [(ts, {"amount": 3, "country": "FR", "shop": "a", "new": 1}) for ts in range(9)]
    attributes = {"country": "GB", "amount": 1, "shop": "a"}
    tokenizer(
        record_of(*events, attributes=attributes, lifelong=[{"key": "opened", "ts": 3}], eval_ts=NOW + 7).encode()
    )
    totals = tokenizer.totals
    # Seven of nine events came before the moment, five are read, three of five tokens each; the country is new.
    assert (totals.events, totals.tokens, totals.unknown_tokens) == (5, 15, 5)
    assert (totals.cut_events, totals.cut_event_tokens, totals.cut_profile_tokens) == (2, 10, 1)


def test_a_text_is_not_an_unknown_token():
    tokenizer = cached(small_tokenizer("embed"))
    tokenizer(record_of((1, {"shop": "never seen"}), (2, {"never seen": "1"})).encode())
    assert tokenizer.totals.unknown_tokens == 1


def test_memory_is_what_is_reckoned_and_bounded():
    tokenizer = small_tokenizer("embed", max_events_per_user=100)
    batches = [
        record_of(*((i, {"shop": f"shop {i} of {n}", "amount": n + i}) for i in range(100)), attributes={"shop": n})
        for n in range(60)
    ]
    raws = [batch.encode() for batch in batches]
    warm = cached(tokenizer)
    warm(raws[0])
    gc.collect()
    tracemalloc.start()
    for raw in raws:
        warm(raw)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    reckoned = warm.events.n_bytes + warm.profiles.n_bytes
    assert len(warm.events) == 6_000
    assert 0.8 * reckoned < taken < 1.2 * reckoned
    bounded = cached(tokenizer, reckoned // 10)
    for raw in raws:
        bounded(raw)
        assert bounded.events.n_bytes + bounded.profiles.n_bytes <= reckoned // 10
    assert bounded.events.evictions > 4_000


@pytest.mark.parametrize("event_id", ['"7f3a"', '"a\\"b"', "17", '""'])
def test_an_id_of_an_event_is_accepted_and_changes_nothing(small, event_id):
    raw = record_of((5, {"shop": "a"}), (6, {"shop": "b"})).encode()
    with_id = raw.replace(b'"source"', f'"event_id": {event_id}, "source"'.encode(), 1)
    tokenizer = cached(small)
    expected = numbers(tokenizer(raw))
    assert numbers(plain(small)(with_id)) == expected
    assert numbers(tokenizer(with_id)) == expected
    assert (tokenizer.events.hits, tokenizer.events.misses) == (2, 2)


@pytest.mark.parametrize("event_id", ["null", "1.5", "[]", "{}", '"\xff"', '"a", "event_id": "b"'])
def test_an_id_that_is_none_is_refused_as_it_is_without_a_cache(small, event_id):
    raw = record_of((5, {"shop": "a"})).encode()
    bad = raw.replace(b'"source"', f'"event_id": {event_id}, "source"'.encode("latin-1"), 1)
    tokenizer = cached(small)
    tokenizer(raw)
    assert outcome(tokenizer, bad) == outcome(plain(small), bad)
