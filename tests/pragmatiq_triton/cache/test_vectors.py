from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pragmatiq_triton.batch import Float32, UInt64
from pragmatiq_triton.cache.vectors import ENTRY_BYTES, EVICTED_SHARE, VectorCache, as_bytes, as_numbers

DIM = 3
UNTOUCHED = np.float32(-7.0)


def cache_for(n_entries: int, dim: int = DIM) -> VectorCache:
    return VectorCache(dim, n_entries * (4 * dim + ENTRY_BYTES))


def keys_of(*numbers: int) -> UInt64:
    """Fingerprints that differ in either half, with zero bytes at both ends."""
    return np.array([(n % 3, (n // 3) << 32) for n in numbers], np.uint64).reshape(-1, 2)


def vectors_of(*numbers: int, dim: int = DIM) -> Float32:
    """What belongs to :func:`keys_of` the same numbers: fractions that no shorter float holds."""
    vectors = np.array(numbers, np.float32)[:, None] + np.arange(dim, dtype=np.float32) / 7 + np.float32(1 / 3)
    return vectors.astype(np.float32)


def put(cache: VectorCache, *numbers: int) -> None:
    cache.put(keys_of(*numbers), vectors_of(*numbers, dim=cache.dim))


def held(cache: VectorCache, *numbers: int) -> set[int]:
    """Which of ``numbers`` are there; fails unless each has its own vector and the others' rows are untouched."""
    out = np.full((len(numbers), cache.dim), UNTOUCHED)
    missing = cache.take(keys_of(*numbers), out)
    expected = vectors_of(*numbers, dim=cache.dim)
    expected[missing] = UNTOUCHED
    np.testing.assert_array_equal(out, expected)
    assert missing.tolist() == sorted(set(missing.tolist()))
    return {number for row, number in enumerate(numbers) if row not in missing}


def check_consistent(cache: VectorCache) -> None:
    """The dictionary, the arena of keys and the free list tell the same story."""
    rows, free = cache._rows, cache._free[: cache._n_free].tolist()
    assert sorted([*rows.values(), *free]) == list(range(cache.capacity))
    assert {name: cache._keys[row].tobytes() for name, row in rows.items()} == {name: name for name in rows}
    assert cache.n_bytes <= cache.max_bytes
    assert len(cache) == len(rows) <= cache.capacity


def test_vectors_come_back_to_the_bit() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, (500, 5), np.uint64).astype(np.uint32)
    vectors, keys = bits.view(np.float32), np.random.default_rng(1).integers(0, 2**64, (500, 2), np.uint64)
    cache = cache_for(500, dim=5)
    cache.put(keys, vectors)
    out = np.zeros((500, 5), np.float32)
    assert not len(cache.take(keys[::-1], out))
    np.testing.assert_array_equal(out[::-1].view(np.uint32), bits)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_fingerprints_as_bytes_and_back(n: int) -> None:
    keys = keys_of(*range(n))
    names = as_bytes(keys)
    assert [len(name) for name in names] == [16] * n
    np.testing.assert_array_equal(as_numbers(b"".join(names)), keys)


def test_keys_that_are_rows_of_a_larger_array() -> None:
    cache = cache_for(4)
    wide = np.concatenate([keys_of(1, 2), keys_of(3, 4)], axis=1)
    cache.put(wide[:, 2:], vectors_of(3, 4))
    assert held(cache, 1, 2, 3, 4) == {3, 4}


def test_hits_misses_and_evictions_are_counted() -> None:
    cache = cache_for(2)
    put(cache, 1, 2)
    held(cache, 1, 1, 3)
    put(cache, 4)
    assert (cache.hits, cache.misses, cache.evictions) == (2, 1, 1)


def test_what_was_used_lately_survives() -> None:
    cache = cache_for(4)
    put(cache, 1, 2, 3, 4)
    held(cache, 1, 3)
    put(cache, 5, 6)
    assert held(cache, *range(1, 7)) == {1, 3, 5, 6}


def test_putting_a_key_again_is_a_use_and_takes_no_second_row() -> None:
    cache = cache_for(3)
    put(cache, 1, 2, 3)
    put(cache, 1)
    put(cache, 4, 1)
    assert len(cache) == 3
    assert {1, 4} < held(cache, 1, 2, 3, 4)


def test_a_key_put_again_has_the_newer_vector() -> None:
    cache = cache_for(3)
    put(cache, 1, 2)
    cache.put(keys_of(2), vectors_of(9))
    out = np.zeros((2, DIM), np.float32)
    cache.take(keys_of(1, 2), out)
    np.testing.assert_array_equal(out, vectors_of(1, 9))


def test_making_room_spares_keys_of_the_same_put() -> None:
    cache = cache_for(4)
    put(cache, 1, 2, 3, 4)
    put(cache, 1, 5, 6, 7)
    assert held(cache, *range(1, 8)) == {1, 5, 6, 7}


def test_a_share_of_the_oldest_goes_at_once() -> None:
    n_entries = 10 * EVICTED_SHARE
    cache = cache_for(n_entries)
    put(cache, *range(n_entries))
    held(cache, 0, 3)
    put(cache, 1000)
    assert cache.evictions == 10
    assert set(range(n_entries)) - held(cache, *range(n_entries), 1000) == {1, 2, *range(4, 12)}
    check_consistent(cache)


@pytest.mark.parametrize("n_entries", [0, 1, 2, 5, 70])
def test_of_more_than_fits_the_last_are_kept(n_entries: int) -> None:
    cache = cache_for(n_entries)
    put(cache, 1000, 1001)
    put(cache, *range(100))
    assert held(cache, *range(100), 1000, 1001) == set(range(100)[100 - n_entries :])
    check_consistent(cache)


def test_too_few_bytes_for_an_entry_hold_nothing() -> None:
    cache = VectorCache(DIM, 4 * DIM + ENTRY_BYTES - 1)
    put(cache, 1)
    assert held(cache, 1, 2) == set()
    assert (len(cache), cache.n_bytes, cache.misses) == (0, 0, 2)


def test_nothing_taken_and_nothing_put() -> None:
    cache = cache_for(2)
    put(cache)
    assert held(cache) == set()
    assert (cache.hits, cache.misses) == (0, 0)


class LeastRecentlyUsed(RuleBasedStateMachine):
    """Against a dictionary of everything ever put, with the time of each key's last use."""

    @initialize(n_entries=st.integers(0, 40))
    def start(self, n_entries: int) -> None:
        self.cache = cache_for(n_entries)
        self.last_used: dict[int, int] = {}
        self.now = 0

    @rule(numbers=st.lists(st.integers(0, 60), max_size=50))
    def take(self, numbers: list[int]) -> None:
        found = held(self.cache, *numbers)
        assert found == self.last_used.keys() & set(numbers)
        self.now += 1
        self.last_used.update(dict.fromkeys(found, self.now))

    @rule(numbers=st.lists(st.integers(0, 60), max_size=50, unique=True))
    def put(self, numbers: list[int]) -> None:
        before, evictions = dict(self.last_used), self.cache.evictions
        put(self.cache, *numbers)
        kept = numbers[max(0, len(numbers) - self.cache.capacity) :]
        for number in kept:
            self.now += 1
            self.last_used[number] = self.now
        names = dict(zip(as_bytes(keys_of(*self.last_used)), self.last_used, strict=True))
        here = {names[name] for name in self.cache._rows}
        gone = self.last_used.keys() - here
        assert self.cache.evictions - evictions == len(gone)
        assert set(kept) <= here
        assert not gone or len(before) + len(set(kept) - before.keys()) > self.cache.capacity
        spared = [before[number] for number in here - set(kept)]
        assert max((before[number] for number in gone), default=-1) <= min(spared, default=self.now)
        for number in gone:
            del self.last_used[number]

    @invariant()
    def consistent(self) -> None:
        check_consistent(self.cache)
        assert len(self.cache) == len(self.last_used)


TestLeastRecentlyUsed = LeastRecentlyUsed.TestCase
TestLeastRecentlyUsed.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_many_threads_while_it_evicts() -> None:
    cache = cache_for(40, dim=33)

    def hammer(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(150):
            numbers = rng.choice(64, 20, replace=False).tolist()
            known = held(cache, *numbers)
            put(cache, *(number for number in numbers if number not in known))

    with ThreadPoolExecutor(32) as threads:
        for _ in threads.map(hammer, range(32)):
            pass
    check_consistent(cache)
    assert cache.hits + cache.misses == 32 * 150 * 20
    assert cache.evictions > 0


def test_a_snapshot_brings_everything_back(tmp_path: Path) -> None:
    cache = cache_for(5)
    put(cache, 1, 2, 3)
    cache.save(tmp_path / "new" / "vectors", "model 1")
    again = cache_for(5)
    assert again.load(tmp_path / "new" / "vectors", "model 1") == 3
    assert held(again, 1, 2, 3, 4) == {1, 2, 3}
    check_consistent(again)


def test_a_snapshot_of_nothing(tmp_path: Path) -> None:
    cache_for(5).save(tmp_path / "vectors", "model 1")
    assert cache_for(5).load(tmp_path / "vectors", "model 1") == 0


def test_a_snapshot_keeps_the_order_of_use(tmp_path: Path) -> None:
    cache = cache_for(4)
    put(cache, 1, 2, 3, 4)
    held(cache, 2)
    held(cache, 1)
    cache.save(tmp_path / "vectors", "model 1")
    same, smaller, none = cache_for(4), cache_for(2), cache_for(0)
    same.load(tmp_path / "vectors", "model 1")
    put(same, 5)
    assert held(same, *range(1, 6)) == {4, 2, 1, 5}
    assert smaller.load(tmp_path / "vectors", "model 1") == 2
    assert held(smaller, *range(1, 5)) == {2, 1}
    assert none.load(tmp_path / "vectors", "model 1") == 0


def test_a_snapshot_joins_what_is_there(tmp_path: Path) -> None:
    cache = cache_for(4)
    put(cache, 1, 2)
    cache.save(tmp_path / "vectors", "model 1")
    put(cache, 3)
    cache.load(tmp_path / "vectors", "model 1")
    assert held(cache, 1, 2, 3) == {1, 2, 3}
    check_consistent(cache)


@pytest.mark.parametrize(("n_entries", "kept"), [(3, {1, 2, 5}), (4, {1, 2, 4, 5}), (6, {1, 2, 3, 4, 5})])
def test_a_snapshot_that_takes_nobodys_place(n_entries: int, kept: set[int], tmp_path: Path) -> None:
    theirs, ours = cache_for(4), cache_for(n_entries)
    put(theirs, 3, 1, 4, 2)
    theirs.save(tmp_path / "vectors", "model 1")
    put(ours, 1, 2, 5)
    ours.load(tmp_path / "vectors", "model 1", make_room=False)
    assert held(ours, *range(1, 6)) == kept
    assert ours.evictions == 0
    check_consistent(ours)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    cache = cache_for(4)
    put(cache, 1, 2, 3)
    cache.save(tmp_path / "vectors", "model 1")
    return tmp_path / "vectors"


def check_refused(snapshot: Path, identity: str, match: str, dim: int = DIM) -> None:
    cache = cache_for(4, dim)
    put(cache, 9)
    with pytest.raises(ValueError, match=match):
        cache.load(snapshot, identity)
    assert held(cache, 1, 2, 3, 9) == {9}
    check_consistent(cache)


def test_a_snapshot_of_another_model_is_refused(snapshot: Path) -> None:
    check_refused(snapshot, "model 2", "model 1, expected model 2")


def test_a_snapshot_of_another_length_is_refused(snapshot: Path) -> None:
    check_refused(snapshot, "model 1", r"\[n, 4\], got .*\[3, 3\]", dim=4)


@pytest.mark.parametrize(
    ("keys", "vectors"),
    [
        (keys_of(1, 2), vectors_of(1)),
        (keys_of(1).astype(np.int64), vectors_of(1)),
        (keys_of(1), vectors_of(1).astype(np.float64)),
        (np.uint64(1), np.float32(1)),
    ],
)
def test_a_snapshot_of_other_arrays_is_refused(keys: UInt64, vectors: Float32, tmp_path: Path) -> None:
    with (tmp_path / "vectors").open("wb") as file:
        np.savez(file, identity=np.asarray("model 1"), keys=keys, vectors=vectors)
    check_refused(tmp_path / "vectors", "model 1", "expected keys uint64")


def test_a_snapshot_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "vectors").open("wb") as file:
        np.savez(file, identity=np.asarray("model 1"), keys=keys_of(1, 2, 1), vectors=vectors_of(1, 2, 1))
    check_refused(tmp_path / "vectors", "model 1", "all different")


@pytest.mark.parametrize("content", ["nothing", "a text", "an array", "other arrays"])
def test_what_is_no_snapshot_is_refused(content: str, tmp_path: Path) -> None:
    with (tmp_path / "vectors").open("wb") as file:
        if content == "a text":
            file.write(b"vectors")
        elif content == "an array":
            np.save(file, vectors_of(1))
        elif content == "other arrays":
            np.savez(file, keys=keys_of(1))
    check_refused(tmp_path / "vectors", "model 1", "expected a snapshot")


def test_truncated_snapshots_are_refused(snapshot: Path) -> None:
    whole = snapshot.read_bytes()
    for n_bytes in range(0, len(whole), 7):
        snapshot.write_bytes(whole[:n_bytes])
        check_refused(snapshot, "model 1", "expected a snapshot")


def test_a_damaged_byte_never_changes_a_vector(snapshot: Path) -> None:
    whole, n_refused = snapshot.read_bytes(), 0
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        snapshot.write_bytes(damaged)
        cache = cache_for(4)
        try:
            cache.load(snapshot, "model 1")
        except ValueError:
            n_refused += 1
            assert len(cache) == 0
        else:
            assert held(cache, 1, 2, 3, 9) == {1, 2, 3}
    assert n_refused > len(whole) / 6


def test_a_missing_snapshot(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        cache_for(4).load(tmp_path / "vectors", "model 1")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_save_leaves_the_old_file(
    error: type[BaseException], snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(file: IO[bytes], **arrays: object) -> None:
        file.write(b"half of a snapsh")
        raise error

    cache = cache_for(4)
    put(cache, 7)
    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(error):
        cache.save(snapshot, "model 1")
    assert list(snapshot.parent.iterdir()) == [snapshot]
    assert cache.load(snapshot, "model 1") == 3
