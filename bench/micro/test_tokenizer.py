"""A record's JSON becomes tokens: new to the server, known but for its newest event, and without any cache."""

from itertools import count

import msgspec
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.serving.records import Customer, to_json
from pragmatiq_triton.batch import UserFeatures
from pragmatiq_triton.cache.fingerprints import Fingerprints
from pragmatiq_triton.records import Event, Record, RecordLimits, decode_record
from pragmatiq_triton.serving.parameters import TokenizerParameters
from pragmatiq_triton.tokenizer import Tokenizer
from pragmatiq_triton.tokenizer.cached import CachedTokenizer
from pragmatiq_triton.tokenizer.features import HistoryFeatures
from pragmatiq_triton.tokenizer.raw_record import split_record

ROUNDS = 30
EARLIEST = 1_700_000_000_000_000


@pytest.mark.benchmark(group="record: read whole")
def test_decode(benchmark: BenchmarkFixture, raw: bytes, record: Record) -> None:
    assert benchmark(decode_record, raw) == record


@pytest.mark.benchmark(group="record: cut at its events")
def test_split(benchmark: BenchmarkFixture, raw: bytes, record: Record) -> None:
    split = benchmark(split_record, raw)
    assert [event.decode() for event in split.raw.events] == record.events


@pytest.mark.benchmark(group="tokenize: without a cache")
def test_plain(benchmark: BenchmarkFixture, tokenizer: Tokenizer, raw: bytes, user: UserFeatures) -> None:
    assert_same(benchmark(lambda: tokenizer(decode_record(raw))), user)


@pytest.mark.benchmark(group="tokenize: nothing known")
def test_cold(
    benchmark: BenchmarkFixture, tokenizer: Tokenizer, fingerprints: Fingerprints, raw: bytes, user: UserFeatures
) -> None:
    def nothing_known() -> tuple[tuple[CachedTokenizer], dict[str, object]]:
        return (CachedTokenizer(tokenizer, RecordLimits(), TokenizerParameters().record_cache_bytes, fingerprints),), {}

    assert_same(benchmark.pedantic(lambda cached: cached(raw), setup=nothing_known, rounds=ROUNDS), user)


@pytest.mark.benchmark(group="tokenize: all but the newest event known")
def test_warm(
    benchmark: BenchmarkFixture,
    tokenizer: Tokenizer,
    fingerprints: Fingerprints,
    customer: Customer,
    n_events: int,
    raw: bytes,
) -> None:
    cached = CachedTokenizer(tokenizer, RecordLimits(), TokenizerParameters().record_cache_bytes, fingerprints)
    cached(raw)
    ends = count(n_events + 1)
    sent = [raw]

    def one_event_later() -> tuple[tuple[bytes], dict[str, object]]:
        sent.append(to_json(customer.window(next(ends), n_events)).encode())
        return (sent[-1],), {}

    found = benchmark.pedantic(cached, setup=one_event_later, rounds=ROUNDS)
    assert_same(found, tokenizer(decode_record(sent[-1])))
    assert cached.events.misses <= n_events + len(sent)


@pytest.mark.benchmark(group="tokenize: a thousand strings of 16 kB")
def test_long_strings(benchmark: BenchmarkFixture, tokenizer: Tokenizer, fingerprints: Fingerprints) -> None:
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789 ", np.uint8)
    texts = [rng.choice(letters, 16_000).tobytes().decode() for _ in range(1_000)]
    events = [Event(EARLIEST + i, "transaction", {"merchant": text}) for i, text in enumerate(texts)]
    raw = msgspec.json.encode(Record(events))
    cached = CachedTokenizer(tokenizer, RecordLimits(), TokenizerParameters().record_cache_bytes, fingerprints)
    found = benchmark.pedantic(cached, args=(raw,), rounds=1)
    assert len(found.events) == len(texts)
    assert cached.events.n_bytes <= cached.events.max_bytes


@pytest.mark.benchmark(group="features of a history")
@pytest.mark.parametrize("variant", ["embed"], indirect=True)
def test_history_features(benchmark: BenchmarkFixture, tokenizer: Tokenizer, record: Record, n_events: int) -> None:
    features = HistoryFeatures.of(tokenizer.vocabulary, "all")
    found = benchmark(features, tokenizer.encode(record))
    values = dict(zip(features.names, found.tolist(), strict=True))
    assert values["events"] == n_events
    amount = next(event.fields["amount"] for event in reversed(record.events) if "amount" in event.fields)
    assert values["amount.all.last"] == pytest.approx(float(str(amount)))


def assert_same(found: UserFeatures, expected: UserFeatures) -> None:
    assert found.texts == expected.texts
    for name in ("tokens", "events", "profile", "profile_times"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
