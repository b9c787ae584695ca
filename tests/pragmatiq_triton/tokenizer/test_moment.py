"""Nothing that happened at or after the moment of judgement can be told from the numbers that the models read."""

import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.records import decode_record
from pragmatiq_triton.tokenizer import Tokenizer
from pragmatiq_triton.tokenizer.moment import encoded_before, encoded_until
from tests.conftest import RECORDS, UPSTREAM

RICH = json.loads(RECORDS[2])
TIMES = sorted(event["ts"] for event in RICH["events"])
MOMENT = TIMES[len(TIMES) // 2]

an_event = st.fixed_dictionaries(
    {
        "ts": st.integers(MOMENT, MOMENT + 10**13),
        "source": st.sampled_from(["transaction", "app", "never seen"]),
        "fields": st.dictionaries(st.sampled_from(["amount", "merchant", "x"]), st.sampled_from(["1", "-3.5", "a b"])),
    }
)
a_milestone = st.fixed_dictionaries({"key": st.just("planted"), "ts": st.integers(MOMENT, MOMENT + 10**13)})


@pytest.fixture(scope="module", params=["bpe", "embed"])
def tokenizer(request):
    return Tokenizer.load(UPSTREAM / request.param / "run" / "tokenizer", "all")


def encode(tokenizer, record):
    return tokenizer.encode(decode_record(json.dumps(record).encode()))


def assert_same(one, other):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "texts":
            continue
        np.testing.assert_array_equal(a, b, err_msg=field.name)


@given(planted=st.lists(an_event, max_size=5), milestones=st.lists(a_milestone, max_size=3))
def test_planted_future_events_change_nothing(tokenizer, planted, milestones):
    plain = {**RICH, "eval_ts": MOMENT}
    later = {**plain, "events": [*planted, *RICH["events"]], "lifelong": [*RICH["lifelong"], *milestones]}
    assert_same(
        tokenizer(decode_record(json.dumps(later).encode())), tokenizer(decode_record(json.dumps(plain).encode()))
    )


@given(at=st.sampled_from(TIMES) | st.integers(TIMES[0] - 5, TIMES[-1] + 5))
def test_a_stored_history_is_cut_as_a_record_is(tokenizer, at):
    served = tokenizer(decode_record(json.dumps({**RICH, "eval_ts": at}).encode()))
    stored = tokenizer.user(encoded_before(encode(tokenizer, RICH), at))
    np.testing.assert_array_equal(served.tokens[:, :3], stored.tokens[:, :3])
    for name in ("events", "profile", "profile_times", "features"):
        np.testing.assert_array_equal(getattr(served, name), getattr(stored, name), err_msg=name)
    assert [served.texts[i] for i in served.tokens[:, 3] if i >= 0] == [
        stored.texts[i] for i in stored.tokens[:, 3] if i >= 0
    ]


def test_strictly_before_and_up_to(tokenizer):
    encoded = encode(tokenizer, RICH)
    event = encoded.event_ts.tolist().index(MOMENT)
    before, until = encoded_before(encoded, MOMENT), encoded_until(encoded, event)
    assert before.event_ts.max() < MOMENT
    assert until.event_ts.max() == MOMENT
    assert before.as_of == until.as_of == MOMENT
    assert len(until.event_ts) == len(before.event_ts) + 1
    assert len(before.tokens) == before.event_lengths.sum() == len(before.numbers)


def test_times_count_from_the_new_newest_event(tokenizer):
    user = tokenizer.user(encoded_before(encode(tokenizer, RICH), MOMENT))
    assert user.events[-1, 1] == 0
    assert user.features[0] > 0
    assert tokenizer.user(encoded_until(encode(tokenizer, RICH), TIMES.index(MOMENT))).features[0] == 0


def test_before_everything_there_is_nothing(tokenizer):
    user = tokenizer.user(encoded_before(encode(tokenizer, RICH), 1))
    assert len(user.tokens) == len(user.events) == 0
    assert np.isnan(user.features[0])


@pytest.mark.parametrize("place", range(3))
def test_of_a_microsecond_a_labelled_event_sees_itself_alone(tokenizer, place):
    others = [{"ts": MOMENT, "source": "app", "fields": {"x": str(i)}} for i in range(2)]
    own = {"ts": MOMENT, "source": "transaction", "fields": {"amount": "12.5"}}
    past = [event for event in RICH["events"] if event["ts"] < MOMENT]
    together = [*others[:place], own, *others[place:]]
    opened = [{"key": "account_opened", "ts": MOMENT - 1}]
    record = {**RICH, "events": [*past, *together, *RICH["events"][-2:]], "as_of": MOMENT, "lifelong": opened}
    labelled = encode(tokenizer, {**record, "lifelong": [*opened, {"key": "account_opened", "ts": MOMENT}]})
    alone = encode(tokenizer, {**record, "events": [*past, own]})
    assert_same(encoded_until(labelled, len(past) + place), alone)
    assert_same(tokenizer.user(encoded_until(labelled, len(past) + place)), tokenizer.user(alone))
