"""The cache of event vectors: gathering a history's vectors out of it, keeping new ones, giving up old ones."""

from hashlib import blake2b
from itertools import count

import msgspec
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pragmatiq_triton.batch import Float32, UInt64
from pragmatiq_triton.cache.vectors import ENTRY_BYTES, VectorCache, as_numbers
from pragmatiq_triton.records import Record

CAPACITY = 1 << 15
ROUNDS = 100
Arguments = tuple[tuple[object, ...], dict[str, object]]


@pytest.fixture
def cache(dim: int) -> VectorCache:
    return empty_cache(dim)


@pytest.fixture(scope="module")
def keys(record: Record) -> UInt64:
    """uint64 [n_events, 2], with the repetitions of a history."""
    contents = [msgspec.json.encode((event.source, event.fields)) for event in record.events]
    return as_numbers(b"".join(blake2b(content, digest_size=16).digest() for content in contents))


@pytest.fixture
def out(keys: UInt64, dim: int) -> Float32:
    return np.zeros((len(keys), dim), np.float32)


@pytest.mark.benchmark(group="gather: all events known")
def test_take_known(benchmark: BenchmarkFixture, cache: VectorCache, keys: UInt64, out: Float32) -> None:
    keep(cache, keys)
    missing = benchmark(cache.take, keys, out)
    assert not len(missing)
    np.testing.assert_array_equal(out, vectors_of(keys, cache.dim))


@pytest.mark.benchmark(group="gather: all but the newest event known")
def test_take_all_but_one(benchmark: BenchmarkFixture, cache: VectorCache, keys: UInt64, out: Float32) -> None:
    is_new = np.all(keys == keys[-1], axis=1)
    keep(cache, keys[~is_new])
    missing = benchmark(cache.take, keys, out)
    np.testing.assert_array_equal(missing, np.flatnonzero(is_new))
    np.testing.assert_array_equal(out[~is_new], vectors_of(keys[~is_new], cache.dim))


@pytest.mark.benchmark(group="gather: no event known")
def test_take_unknown(benchmark: BenchmarkFixture, cache: VectorCache, keys: UInt64, out: Float32) -> None:
    missing = benchmark(cache.take, keys, out)
    np.testing.assert_array_equal(missing, np.arange(len(keys)))
    assert not out.any()


@pytest.mark.benchmark(group="keep the distinct events of a history in an empty cache")
def test_put_into_empty(benchmark: BenchmarkFixture, keys: UInt64, out: Float32) -> None:
    distinct = np.unique(keys, axis=0)
    vectors = vectors_of(distinct, out.shape[1])

    def setup() -> Arguments:
        caches[:] = [empty_cache(out.shape[1])]
        return (caches[0],), {}

    caches: list[VectorCache] = []
    benchmark.pedantic(lambda cache: cache.put(distinct, vectors), setup=setup, rounds=ROUNDS)
    assert not len(caches[0].take(keys, out))
    np.testing.assert_array_equal(out, vectors_of(keys, out.shape[1]))


@pytest.mark.benchmark(group="keep new events in a full cache, where the oldest give way")
@pytest.mark.parametrize("n_new", [1, 16, 256, 2048], ids="new={}".format)
def test_put_into_full(benchmark: BenchmarkFixture, cache: VectorCache, n_new: int) -> None:
    def numbered(numbers: range) -> tuple[UInt64, Float32]:
        keys = np.stack([numbers, numbers], axis=1).astype(np.uint64)
        return keys, vectors_of(keys, cache.dim)

    def setup() -> Arguments:
        start = next(starts)
        sent.append(numbered(range(start, start + n_new)))
        return sent[-1], {}

    cache.put(*numbered(range(cache.capacity)))
    starts = count(cache.capacity, n_new)
    sent: list[tuple[UInt64, Float32]] = []
    benchmark.pedantic(cache.put, setup=setup, rounds=ROUNDS)
    keys, vectors = sent[-1]
    out = np.zeros_like(vectors)
    assert not len(cache.take(keys, out))
    np.testing.assert_array_equal(out, vectors)
    assert cache.evictions > 0


def empty_cache(dim: int) -> VectorCache:
    return VectorCache(dim, CAPACITY * (4 * dim + ENTRY_BYTES))


def vectors_of(keys: UInt64, dim: int) -> Float32:
    """Vectors [n, dim] that tell keys apart."""
    return np.repeat(keys[:, :1].astype(np.float32), dim, axis=1)


def keep(cache: VectorCache, keys: UInt64) -> None:
    distinct = np.unique(keys, axis=0)
    cache.put(distinct, vectors_of(distinct, cache.dim))
