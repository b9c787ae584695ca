from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.cache.records import PLACE_BYTES, RecordCache


@dataclass(frozen=True)
class Value:
    key: bytes
    n_bytes: int = 1000


def fill(cache, keys):
    for key, kept in zip(keys, cache.find(keys), strict=True):
        if kept is None:
            cache.put(key, Value(key))


ENTRY = 1000 + PLACE_BYTES + 34


@given(st.lists(st.lists(st.integers(0, 30).map(lambda i: bytes([i])), unique=True, max_size=8), max_size=15))
def test_it_holds_right_values_within_its_bytes(batches):
    cache = RecordCache(10 * ENTRY)
    n_lookups = 0
    for keys in batches:
        n_lookups += len(keys)
        for key, value in zip(keys, cache.find(keys), strict=True):
            if value is None:
                cache.put(key, Value(key))
            else:
                assert value.key == key
        assert cache.n_bytes == len(cache) * ENTRY <= cache.max_bytes
    assert cache.hits + cache.misses == n_lookups
    assert cache.misses == len(cache) + cache.evictions


def test_what_is_asked_for_stays_and_the_rest_goes():
    cache = RecordCache(10 * ENTRY)
    fill(cache, [b"a", b"z"])
    for i in range(100):
        fill(cache, [b"a", bytes([i])])
    assert cache.find([b"a", b"z"]) == [Value(b"a"), None]
    assert cache.evictions >= 90


@pytest.mark.parametrize("max_bytes", [0, 2 * ENTRY - 1])
def test_an_entry_larger_than_a_generation_is_not_kept(max_bytes):
    cache = RecordCache(max_bytes)
    fill(cache, [b"a"])
    assert cache.find([b"a"]) == [None]
    assert (len(cache), cache.n_bytes, cache.misses, cache.evictions) == (0, 0, 2, 0)


def test_a_key_asked_for_twice_is_found_twice_in_the_old_generation():
    cache = RecordCache(4 * ENTRY)
    fill(cache, [b"a", b"b"])
    fill(cache, [b"c"])
    assert cache.find([b"a", b"a"]) == [Value(b"a")] * 2
    assert len(cache) == 3
