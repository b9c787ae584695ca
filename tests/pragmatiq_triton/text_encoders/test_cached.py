from collections.abc import Sequence

import numpy as np
import pytest

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.cache.vectors import ENTRY_BYTES, VectorCache
from pragmatiq_triton.errors import DataError, NotFiniteError
from pragmatiq_triton.text_encoders.cached import CachedTextEncoder
from pragmatiq_triton.text_encoders.hash import HashEncoder

from .texts import TEXTS

DIM = 6
STRINGS = [text.encode("utf-8") for text in dict.fromkeys(TEXTS)]


class CountingEncoder:
    """The hash encoder, which notes what it is asked for, refuses what begins with ``bad``, and fails where asked."""

    name, dim, revision = "counting", DIM, "1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Float32:
        if any(text.startswith("bad") for text in texts):
            raise DataError("refused")
        self.asked += texts
        vectors = HashEncoder(DIM).encode(texts)
        vectors[[text.startswith("NaN") for text in texts], 1] = np.nan
        vectors[[text.startswith("inf") for text in texts], 2] = -np.inf
        return vectors


def cached(n_entries: int = 1000) -> tuple[CachedTextEncoder, CountingEncoder]:
    encoder = CountingEncoder()
    return CachedTextEncoder(encoder, VectorCache(DIM, n_entries * (4 * DIM + ENTRY_BYTES))), encoder


def test_vectors_are_the_encoders_new_and_known() -> None:
    tested, encoder = cached()
    expected = HashEncoder(DIM).encode([text.decode("utf-8") for text in STRINGS])
    np.testing.assert_array_equal(tested.encode(STRINGS), expected)
    out = np.zeros((len(STRINGS), DIM), np.float32)
    assert not len(tested.known(STRINGS[::-1], out))
    np.testing.assert_array_equal(out[::-1], expected)
    assert encoder.asked == [text.decode("utf-8") for text in STRINGS]


def test_what_is_not_known_is_told_and_left_alone() -> None:
    tested, encoder = cached()
    tested.encode([b"rent", b""])
    out = np.full((4, DIM), 7, np.float32)
    assert tested.known([b"coffee", b"rent", b"Rent", b""], out).tolist() == [0, 2]
    np.testing.assert_array_equal(out[[0, 2]], 7)
    np.testing.assert_array_equal(out[[1, 3]], HashEncoder(DIM).encode(["rent", ""]))
    assert encoder.asked == ["rent", ""]


def test_strings_that_differ_only_at_their_ends_are_different() -> None:
    tested, _ = cached()
    tested.encode([b"a"])
    out = np.zeros((4, DIM), np.float32)
    assert tested.known([b"a\0", b"\0a", b"aa", b"a "], out).tolist() == [0, 1, 2, 3]


def test_no_strings() -> None:
    tested, _ = cached()
    assert tested.encode([]).shape == (0, DIM)
    assert tested.known([], np.zeros((0, DIM), np.float32)).tolist() == []


@pytest.mark.parametrize("n_entries", [0, 2])
def test_more_strings_than_the_cache_holds(n_entries: int) -> None:
    tested, _ = cached(n_entries)
    texts = [b"one", b"two", b"three", b"four"]
    np.testing.assert_array_equal(tested.encode(texts), HashEncoder(DIM).encode(["one", "two", "three", "four"]))
    missing = tested.known(texts, np.zeros((4, DIM), np.float32))
    assert missing.tolist() == list(range(4 - n_entries))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (b"bad string", DataError),
        (b"\xff", UnicodeDecodeError),
        (b"\xed\xa0\x80", UnicodeDecodeError),
        (b"NaN string", NotFiniteError),
        (b"infinite", NotFiniteError),
    ],
)
def test_a_refused_string_leaves_nothing_behind(bad: bytes, error: type[Exception]) -> None:
    tested, _ = cached()
    with pytest.raises(error):
        tested.encode([b"good", bad])
    assert tested.known([b"good", bad], np.zeros((2, DIM), np.float32)).tolist() == [0, 1]


def test_nobody_can_tell_a_key_in_advance() -> None:
    first, second = cached()[0], cached()[0]
    assert not np.intersect1d(first._keys(STRINGS), second._keys(STRINGS)).size
