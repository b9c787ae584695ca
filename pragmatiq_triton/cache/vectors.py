"""Vectors that were computed before, kept by the fingerprint of what they were computed from."""

import tempfile
import threading
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Float32, Int64, UInt64
from pragmatiq_triton.finite import not_finite_rows

ENTRY_BYTES = 256
"""What an entry holds beside its vector: its key, twice, its place and its last use, in a dictionary and two arrays."""

EVICTED_SHARE = 32
"""One in so many entries goes at once, so that finding the oldest is not paid for every new one."""

ROWS_AT_ONCE = 4096
"""Copied while others wait: about a millisecond."""


class VectorCache:
    """float32 vectors [dim] by 128-bit fingerprint: within ``max_bytes``, the least recently used give way.

    Any number of threads may use it. Memory is reserved at once and taken up as entries come.
    """

    def __init__(self, dim: int, max_bytes: int) -> None:
        self.dim = dim
        self.max_bytes = max_bytes
        self.capacity = max_bytes // (4 * dim + ENTRY_BYTES)
        self.hits = self.misses = self.evictions = 0
        self._vectors = np.empty((self.capacity, dim), np.float32)
        self._keys = np.empty(self.capacity, "V16")
        self._last_used = np.zeros(self.capacity, np.int64)
        self._rows: dict[bytes, int] = {}
        self._free = np.arange(self.capacity)[::-1].copy()
        self._n_free = self.capacity
        self._tick = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def n_bytes(self) -> int:
        """Of all entries."""
        return len(self) * (4 * self.dim + ENTRY_BYTES)

    def take(self, keys: UInt64, out: Float32) -> Int64:
        """Write the vectors of ``keys`` uint64 [n, 2] that are here into ``out`` [n, dim].

        Returns the rows that are not here, int64 [m] ascending; ``out`` is unchanged there.
        """
        names = as_bytes(keys)
        with self._lock:
            rows = np.fromiter(map(self._rows.get, names, repeat(-1)), np.int64, len(names))
            missing = np.flatnonzero(rows < 0)
            self.misses += len(missing)
            self.hits += len(names) - len(missing)
            if len(missing) < len(names):
                self._tick += 1
                if len(missing):
                    found = np.flatnonzero(rows >= 0)
                    out[found] = self._vectors[rows[found]]
                    self._last_used[rows[found]] = self._tick
                else:
                    np.take(self._vectors, rows, axis=0, out=out, mode="clip")
                    self._last_used[rows] = self._tick
        return missing

    def put(self, keys: UInt64, vectors: Float32) -> None:
        """Keep ``vectors`` [n, dim] under ``keys`` uint64 [n, 2], all different; the last ones count as the newest."""
        keys, vectors = keys[-self.capacity :], vectors[-self.capacity :]
        if not self.capacity or not len(keys):
            return
        names = as_bytes(keys)
        with self._lock:
            first = self._tick + 1
            self._tick += len(names)
            rows = np.fromiter(map(self._rows.get, names, repeat(-1)), np.int64, len(names))
            # What is here already has its newest use now, so that making room does not take it away.
            self._last_used[rows[rows >= 0]] = self._tick
            new = np.flatnonzero(rows < 0)
            if len(new) > self._n_free:
                self._evict(len(new) - self._n_free)
            self._n_free -= len(new)
            rows[new] = self._free[self._n_free : self._n_free + len(new)]
            self._keys[rows] = np.frombuffer(b"".join(names), "V16")
            self._vectors[rows] = vectors
            self._last_used[rows] = np.arange(first, self._tick + 1)
            self._rows.update((names[i], row) for i, row in zip(new.tolist(), rows[new].tolist(), strict=True))

    def save(self, path: Path, identity: str) -> None:
        """Write all entries, oldest use first, as ``path``; a reader sees the old file or the new one.

        Entries that give way meanwhile may be left out: others do not wait until all are copied.
        """
        with self._lock:
            rows = np.fromiter(self._rows.values(), np.int64, len(self._rows))
            used, names = self._last_used[rows], self._keys[rows]
        order = np.argsort(used, kind="stable")
        keys, vectors = self._copied(rows[order], names[order])
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                np.savez(file, identity=np.asarray(identity), keys=keys, vectors=vectors)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def load(self, path: Path, identity: str, *, make_room: bool = True) -> int:
        """Take in the entries that :meth:`save` wrote for the same ``identity``; returns how many.

        ``make_room=False``: only new ones, the last used of them, that no entry here has to give way for.

        ``ValueError`` where the file is damaged or of something else, ``OSError`` where it cannot be read.
        """
        with path.open("rb") as file:
            try:
                kept = np.load(file, allow_pickle=False)
                found, keys, vectors = str(kept["identity"]), kept["keys"], kept["vectors"]
            except Exception as error:  # zipfile has a dozen kinds for what damage does to its headers
                raise ValueError(f"{path}: expected a snapshot of vectors: {error}") from None
        if found != identity:
            raise ValueError(f"{path}: holds vectors of {found}, expected {identity}")
        n = len(keys) if keys.ndim else 0
        if (keys.dtype, keys.shape, vectors.dtype, vectors.shape) != (np.uint64, (n, 2), np.float32, (n, self.dim)):
            raise ValueError(
                f"{path}: expected keys uint64 [n, 2] and vectors float32 [n, {self.dim}], "
                f"got {keys.dtype} {list(keys.shape)} and {vectors.dtype} {list(vectors.shape)}"
            )
        if len(set(as_bytes(keys))) < n:
            raise ValueError(f"{path}: expected keys that are all different")
        if len(wrong := not_finite_rows(vectors)):
            raise ValueError(f"{path}: {len(wrong)} of {n} vectors hold NaN or infinity; none of the file is taken in")
        if not make_room:
            new = np.flatnonzero([name not in self._rows for name in as_bytes(keys)])
            new = new[max(0, len(new) - (self.capacity - len(self))) :]
            keys, vectors = keys[new], vectors[new]
        for part in _slices(len(keys)):
            self.put(keys[part], vectors[part])
        return min(len(keys), self.capacity)

    def _copied(self, rows: Int64, names: npt.NDArray[np.void]) -> tuple[UInt64, Float32]:
        """Keys and vectors of those entries ``names`` [n] that are still in their ``rows`` [n]."""
        vectors = np.empty((len(rows), self.dim), np.float32)
        still = np.zeros(len(rows), np.bool_)
        for part in _slices(len(rows)):
            with self._lock:
                vectors[part] = self._vectors[rows[part]]
                still[part] = self._keys[rows[part]] == names[part]
        if not still.all():
            names, vectors = names[still], vectors[still]
        return as_numbers(names.tobytes()), vectors

    def _evict(self, at_least: int) -> None:
        # Free rows carry the newest tick there is, as those in use do, so neither is taken.
        self._last_used[self._free[: self._n_free]] = self._tick
        older = int(np.count_nonzero(self._last_used < self._tick))
        n = min(max(at_least, self.capacity // EVICTED_SHARE), older)
        oldest = np.argpartition(self._last_used, n - 1)[:n]
        for name in self._keys[oldest].tolist():
            del self._rows[name]
        self._free[self._n_free : self._n_free + n] = oldest
        self._n_free += n
        self.evictions += n


def _slices(n: int) -> Iterator[slice]:
    """Of n rows, so many at a time that nobody waits long."""
    return (slice(start, start + ROWS_AT_ONCE) for start in range(0, n, ROWS_AT_ONCE))


def as_bytes(keys: UInt64) -> list[bytes]:
    """Fingerprints uint64 [n, 2] as 16 bytes each."""
    names: list[bytes] = np.ascontiguousarray(keys).view("V16").reshape(-1).tolist()
    return names


def as_numbers(names: bytes) -> UInt64:
    """Fingerprints of 16 bytes, end to end, as uint64 [n, 2]."""
    numbers: npt.NDArray[np.uint64] = np.frombuffer(names, np.uint64).reshape(-1, 2)
    return numbers
