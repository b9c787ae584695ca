import itertools
import json
import math
import statistics
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.records import decode_record
from pragmatiq_triton.tokenizer import Tokenizer, Vocabulary
from pragmatiq_triton.tokenizer.features import HistoryFeatures

DAY = 86_400_000_000
NOW = 1_700_000_000_000_000


def make_tokenizer(level="all", **settings):
    state = {
        "format_version": 1,
        "config": settings,
        "key_vocab": {"source": 5, "amount": 6, "fee": 7, "shop": 8},
        "field_kind": {"source": "categorical", "amount": "numeric", "fee": "numeric", "shop": "categorical"},
        "cat_vocab": {"source": {"card": 9}, "shop": {"a": 10}},
        "binners": {"amount": {"n_buckets": 1, "edges": []}, "fee": {"n_buckets": 1, "edges": []}},
        "binner_base": {"amount": 11, "fee": 13},
        "bpe_offset": 15,
        "vocab_size": 15,
    }
    return Tokenizer(Vocabulary(state, None), level)


def read(tokenizer, events, **record):
    events = [{"ts": ts, "source": "card", "fields": fields} for ts, fields in events]
    features = tokenizer(decode_record(json.dumps({"events": events, **record}).encode())).features
    return dict(zip(tokenizer.features.names, features.tolist(), strict=True))


def log_seconds(microseconds):
    return 8 * math.log1p(microseconds / 8e6)


def described(values):
    """The statistics of a field's values, by the standard library."""
    if not values:
        return dict.fromkeys(("last", "mean", "spread", "min", "max", "sum", "deviation"), math.nan)
    mean, spread = statistics.fmean(values), statistics.pstdev(values)
    deviation = (values[-1] - mean) / spread if spread else 0.0
    return {"last": values[-1], "mean": mean, "spread": spread, "min": min(values), "max": max(values),
            "sum": sum(values), "deviation": deviation}  # fmt: skip


amounts = st.one_of(st.none(), st.integers(-1000, 1000))


@given(st.lists(st.tuples(st.integers(1, 400 * DAY), amounts, amounts), max_size=25), st.integers(0, 50 * DAY))
def test_features_are_what_plain_python_says(rows, idle):
    rows = sorted(rows, key=lambda row: -row[0])
    events = [
        (NOW - ago, {key: str(value) for key, value in (("amount", amount), ("fee", fee)) if value is not None})
        for ago, amount, fee in rows
    ]
    got = read(make_tokenizer(), events, as_of=NOW + idle)
    times = [ts for ts, _ in events]
    if times:
        assert got["recency"] == pytest.approx(log_seconds(NOW + idle - times[-1]), rel=1e-5)
        assert got["tenure"] == pytest.approx(log_seconds(NOW + idle - times[0]), rel=1e-5)
    else:
        assert math.isnan(got["recency"])
    assert got["events"] == len(times)
    for days in (7, 30, 90):
        assert got[f"events_{days}d"] == sum(ts > NOW + idle - days * DAY for ts in times)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    for window, kept in (("all", gaps), ("last10", gaps[-9:])):
        if kept:
            expected = [statistics.fmean(kept), statistics.pstdev(kept), max(kept), kept[-1]]
            measured = [got[f"gap.{window}.{name}"] for name in ("mean", "spread", "longest", "last")]
            assert measured == pytest.approx([log_seconds(gap) for gap in expected], rel=1e-4, abs=1e-4)
        else:
            assert math.isnan(got[f"gap.{window}.mean"])
    for column, key in ((1, "amount"), (2, "fee")):
        for window, kept in (("all", rows), ("last10", rows[-10:])):
            values = [float(row[column]) for row in kept if row[column] is not None]
            for name, value in described(values).items():
                assert got[f"{key}.{window}.{name}"] == pytest.approx(value, rel=1e-4, abs=1e-3, nan_ok=True)


def test_levels_begin_alike():
    events = [(NOW - DAY, {"amount": "3"}), (NOW, {"amount": "4"})]
    everything = make_tokenizer("all")
    recency = make_tokenizer("recency")
    assert recency.features.names == everything.features.names[:1] == ["recency"]
    assert read(recency, events, as_of=NOW + DAY)["recency"] == read(everything, events, as_of=NOW + DAY)["recency"]
    assert read(make_tokenizer("none"), events) == {}


def test_the_moment_is_read_in_the_tokenizers_zone():
    moment = datetime(2024, 6, 30, 23, 30, tzinfo=UTC)
    record = {"as_of": int(moment.timestamp() * 1e6)}
    utc, london = read(make_tokenizer(), [], **record), read(make_tokenizer(calendar_tz="Europe/London"), [], **record)
    assert (utc["month"], utc["hour"]) == (6, 23)
    assert (london["month"], london["hour"]) == (7, 0)


def test_numbers_beyond_float32_stay_finite():
    got = read(make_tokenizer(), [(NOW, {"amount": "1e300"}), (NOW, {"amount": "nan"}), (NOW, {"amount": "x"})])
    assert got["amount.all.max"] == np.finfo(np.float32).max
    assert got["events"] == 3
    sums = read(make_tokenizer(), [(NOW, {"amount": "3e38"}), (NOW, {"amount": "3e38"})])
    assert sums["amount.all.sum"] == np.finfo(np.float32).max


def test_only_the_newest_events_count():
    tokenizer = make_tokenizer(max_events_per_user=2)
    got = read(tokenizer, [(NOW - DAY, {"amount": "100"}), (NOW - 5, {"amount": "1"}), (NOW, {"amount": "3"})])
    assert (got["events"], got["amount.all.max"], got["amount.all.mean"]) == (2, 3, 2)


def test_names_are_distinct():
    names = HistoryFeatures.of(make_tokenizer().vocabulary, "all").names
    assert len(names) == len(set(names))
