"""A dictionary that keeps to a number of bytes: what was not asked for lately gives way."""

from collections.abc import Sequence
from sys import getsizeof
from typing import Generic, Protocol, TypeVar

PLACE_BYTES = 90
"""Of an entry's place in a dictionary, on average between two of its growths, and of what allocating rounds up."""


class Kept(Protocol):
    """A value that knows how many bytes it takes up, with all that it holds."""

    @property
    def n_bytes(self) -> int: ...


Key = TypeVar("Key", bytes, str)
Value = TypeVar("Value", bound=Kept)


class RecordCache(Generic[Key, Value]):
    """Values by the bytes or the text that they were made from, within ``max_bytes``; 0 keeps nothing.

    There are two generations. What is new or was asked for is young; once the young ones fill half of ``max_bytes``,
    they become the old ones, and the old ones are given up. So each lookup and each new entry takes constant time.
    One thread at a time; counters may be read by others.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = self.evictions = 0
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}
        self._young_bytes = self._old_bytes = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, key: Key) -> bool:
        return key in self._young or key in self._old

    @property
    def n_bytes(self) -> int:
        """Bytes held now."""
        return self._young_bytes + self._old_bytes

    def find(self, keys: Sequence[Key]) -> list[Value | None]:
        """Each key's value, or None."""
        values: list[Value | None] = [*map(self._young.get, keys)]
        misses = 0
        if not all(values):
            values = [self._find(key) if value is None else value for key, value in zip(keys, values, strict=True)]
            misses = sum(value is None for value in values)
        # Once, when both are known: another thread may read a counter at any moment, and no counter goes back.
        self.hits += len(keys) - misses
        self.misses += misses
        return values

    def put(self, key: Key, value: Value) -> None:
        """Keep the value of a key, unless there is one already or it alone would fill a generation."""
        if key in self:
            return
        half, n_bytes = self.max_bytes // 2, _entry_bytes(key, value)
        if n_bytes > half:
            return
        if self._young_bytes + n_bytes > half:
            self.evictions += len(self._old)
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = value
        self._young_bytes += n_bytes

    def _find(self, key: Key) -> Value | None:
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self._old_bytes -= _entry_bytes(key, value)
            self.put(key, value)
        return value


def _entry_bytes(key: bytes | str, value: Kept) -> int:
    return PLACE_BYTES + getsizeof(key) + value.n_bytes
