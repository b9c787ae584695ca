"""The families of features, held against plain Python over the record itself."""

import itertools
import json
import math
import statistics
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.records import decode_record
from pragmatiq_triton.tokenizer import Tokenizer, Vocabulary
from pragmatiq_triton.tokenizer.features import HistoryFeatures
from tests.conftest import RECORDS, UPSTREAM

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOW = 1_700_000_000_000_000
SOURCES = ("due", "repaid", "call")
SHOPS = ("a", "b")


def make_tokenizer(level="wide"):
    state = {
        "format_version": 2,
        "config": {"text_value_mode": "embed", "text_encoder": "hash", "text_encoder_dim": 8},
        "key_vocab": {"amount": 5, "memo": 6, "plan": 7, "shop": 8, "source": 9, "born": 10, "income": 11},
        "field_kind": {
            "amount": "numeric",
            "memo": "text",
            "plan": "categorical",
            "shop": "categorical",
            "source": "categorical",
            "born": "categorical",
            "income": "numeric",
        },
        "number_keys": ["amount", "income"],
        "cat_vocab": {
            "plan": {"gold": 20, "free": 21},
            "shop": {"a": 30, "b": 31},
            "source": {"due": 40, "repaid": 41, "call": 42},
            "born": {"born": 50},
        },
        "binners": {
            "amount": {"n_buckets": 2, "edges": [0.0]},
            "income": {"n_buckets": 4, "edges": [10.0, 20.0, 30.0]},
        },
        "binner_base": {"amount": 60, "income": 70},
        "bpe_offset": 90,
        "vocab_size": 90,
    }
    return Tokenizer(Vocabulary(state, None), level)


TOKENIZER = make_tokenizer()


def read(events, tokenizer=TOKENIZER, **record):
    raw = json.dumps({"events": [{"ts": ts, "source": s, "fields": f} for ts, s, f in events], **record})
    features = tokenizer(decode_record(raw.encode())).features
    return dict(zip(tokenizer.features.names, features.tolist(), strict=True))


def log_seconds(microseconds):
    return 8 * math.log1p(max(microseconds, 0) / 8e6)


def same(got, expected):
    assert got == pytest.approx(expected, rel=2e-4, abs=2e-3, nan_ok=True)


events = st.lists(
    st.tuples(
        st.integers(0, 120 * 24),
        st.sampled_from(SOURCES),
        st.fixed_dictionaries(
            {},
            optional={
                "amount": st.integers(-50, 50).map(str),
                "memo": st.sampled_from(["rent", "TESCO 1", "TESCO 2"]),
                "shop": st.sampled_from([*SHOPS, "never seen"]),
            },
        ),
    ),
    max_size=14,
)


@given(events, st.integers(0, 40 * 24))
def test_families_are_what_plain_python_says(rows, idle):
    rows = sorted(((NOW - ago * HOUR, source, fields) for ago, source, fields in rows), key=lambda row: row[0])
    at = NOW + idle * HOUR
    got = read(rows, as_of=at)
    for field in ("memo", "shop", "source"):
        having = [(ts, s if field == "source" else f[field]) for ts, s, f in rows if field == "source" or field in f]
        check_words(got, field, having)
    amounts = [(ts, float(f["amount"])) for ts, _, f in rows if "amount" in f]
    check_numbers(got, amounts, at, has_events=bool(rows))
    check_kinds(got, [(ts, source) for ts, source, _ in rows], at)
    check_rhythm(got, [ts for ts, _, _ in rows], at)


def check_words(got, field, having):
    if not having:
        assert all(math.isnan(got[f"{field}.{what}"]) for what in ("rank", "seen", "since", "share", "distinct"))
        return
    *earlier, (newest_ts, newest) = having
    known = {"shop": SHOPS, "source": SOURCES, "memo": ()}[field]
    # Values that training never saw are one value, [UNK].
    alike = [ts for ts, value in earlier if value == newest or (known and value not in known and newest not in known)]
    same(got[f"{field}.rank"], known.index(newest) if newest in known else math.nan)
    assert got[f"{field}.seen"] == len(alike)
    same(got[f"{field}.since"], log_seconds(newest_ts - alike[-1]) if alike else math.nan)
    same(got[f"{field}.share"], len(alike) / len(earlier) if earlier else math.nan)
    values = Counter(value if value in known or not known else "?" for _, value in having)
    assert got[f"{field}.distinct"] == len(values)
    for i, value in enumerate(known):
        same(got[f"{field}.is{i}"], values[value] / len(having))
    if known:
        shares = [count / len(having) for count in values.values()]
        same(got[f"{field}.entropy"], -sum(p * math.log(p) for p in shares))


def check_numbers(got, amounts, at, has_events):
    values = [value for _, value in amounts]
    same(got["amount.previous"], values[-2] if len(values) > 1 else math.nan)
    for days in (1, 7, 30, 90):
        total = sum(value for ts, value in amounts if ts > at - days * DAY)
        same(got[f"amount.sum_{days}d"], total if values else math.nan)
    late = [value for ts, value in amounts if ts > at - 30 * DAY]
    before = [value for ts, value in amounts if ts <= at - 30 * DAY]
    means = [statistics.fmean(each) if each else math.nan for each in (late, before)]
    same([got["amount.mean_30d"], got["amount.mean_before"]], means)
    same(got["amount.ratio_30d"], means[0] / means[1] if late and before and means[1] else math.nan)
    varied = len(set(values)) > 1
    same(got["amount.trend"], statistics.correlation(values, range(len(values))) if varied else math.nan)
    assert has_events or math.isnan(got["amount.sum_1d"])


def check_kinds(got, rows, at):
    times = {source: [ts for ts, each in rows if each == source] for source in SOURCES}
    for i, source in enumerate(SOURCES):
        same(got[f"since.source{i}"], log_seconds(at - times[source][-1]) if times[source] else math.nan)
    for (i, first), (j, second) in itertools.permutations(enumerate(SOURCES), 2):
        nearest = [(ts, max((t for t in times[first] if t < ts), default=None)) for ts in times[second]]
        gaps = [ts - t for ts, t in nearest if t is not None]
        expected = [gaps[-1], statistics.fmean(gaps), max(gaps)] if gaps else []
        found = [got[f"gap.source{i}.source{j}.{what}"] for what in ("last", "mean", "longest")]
        same(found, [log_seconds(gap) for gap in expected] if gaps else [math.nan] * 3)


def check_rhythm(got, times, at):
    assert got["events_1h"] == sum(ts > at - HOUR for ts in times)
    assert got["events_1d"] == sum(ts > at - DAY for ts in times)
    moment = datetime.fromtimestamp(at / 1e6, UTC)
    assert (got["weekday"], got["day"]) == (moment.weekday(), moment.day)
    before = [datetime.fromtimestamp(ts / 1e6, UTC) for ts in times[:-1]]
    apart = [abs(each.hour - moment.hour) for each in before]
    same(got["hour_habit"], statistics.fmean(min(x, 24 - x) <= 2 for x in apart) if before else math.nan)
    same(
        got["weekday_habit"], statistics.fmean(e.weekday() == moment.weekday() for e in before) if before else math.nan
    )
    assert got["together"] == sum(ts == times[-1] for ts in times)


def test_a_profile_is_ranks_buckets_and_ages():
    milestones = [{"key": "born", "ts": NOW - 9 * DAY}, {"key": "born", "ts": NOW - 2 * DAY}]
    got = read([], as_of=NOW, attributes={"plan": "free", "income": "25", "memo": "x"}, lifelong=milestones)
    assert (got["plan.attribute"], got["income.attribute"]) == (1, 3)
    same(got["born.age"], log_seconds(2 * DAY))
    assert math.isnan(got["born.attribute"])
    other = read([], as_of=NOW, attributes={"plan": "of another kind", "income": "much"})
    assert all(math.isnan(other[name]) for name in ("plan.attribute", "income.attribute", "born.age"))


@pytest.mark.parametrize("n", range(1, 40))
def test_what_ought_to_be_zero_is_zero_whatever_the_arithmetic_leaves(n):
    got = read([(NOW + i * HOUR, "due", {"shop": "a"}) for i in range(n)])
    assert got["shop.entropy"] == got["source.entropy"] == 0
    mixed = read([(NOW + i * HOUR, "due", {"shop": SHOPS[i % 2]}) for i in range(2 * n)])
    assert mixed["shop.entropy"] == np.float32(round(math.log(2), 6))


@pytest.mark.parametrize("variant", ["bpe", "embed"])
def test_a_text_is_told_from_others_in_pieces_and_as_one_token(variant):
    tokenizer = Tokenizer.load(UPSTREAM / variant / "run" / "tokenizer", "wide")
    text = next(key for key, kind in tokenizer.vocabulary.state["field_kind"].items() if kind == "text")
    base = max((json.loads(raw) for raw in RECORDS), key=lambda record: len(record["events"]))
    texts = ["PAYMENT TO SMITH", "PAYMENT TO SMYTH", "PAYMENT TO SMITH"]
    source = base["events"][0]["source"]
    rows = [(NOW + i * HOUR, source, {text: value}) for i, value in enumerate(texts)]
    got = read(rows, tokenizer)
    assert (got[f"{text}.seen"], got[f"{text}.distinct"]) == (1, 2)
    same(got[f"{text}.since"], log_seconds(2 * HOUR))


@pytest.mark.parametrize("variant", ["bpe", "embed"])
def test_all_that_was_there_before_stays_where_it_was(variant):
    folder = UPSTREAM / variant / "run" / "tokenizer"
    before, wide = (Tokenizer.load(folder, level) for level in ("all", "wide"))
    n = len(before.features.names)
    assert wide.features.names[:n] == before.features.names
    assert len(set(wide.features.names)) == len(wide.features.names)
    for raw in RECORDS:
        one, two = (tokenizer(decode_record(raw)).features for tokenizer in (before, wide))
        np.testing.assert_array_equal(one, two[:n])
        assert np.isfinite(two[~np.isnan(two)]).all()


def test_a_tokenizer_of_nothing_but_sources():
    state = {**TOKENIZER.vocabulary.state, "key_vocab": {}, "field_kind": {}, "cat_vocab": {}, "number_keys": []}
    names = HistoryFeatures.of(Vocabulary({**state, "binners": {}, "binner_base": {}}, None), "wide").names
    assert len(names) == len(set(names))
