import hashlib
from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.text_encoders import TextEncoderSpec, create_text_encoder
from pragmatiq_triton.text_encoders.hash import HashEncoder

from .texts import TEXTS

# The first 16 bytes of SHAKE-256 of the empty message, from NIST's example values for FIPS 202.
SHAKE256_OF_NOTHING = bytes.fromhex("46b9dd2b0ba88d13233b3feb743eeb24")


def by_hand(digest: bytes) -> list[float]:
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, len(digest), 4)]
    return [sqrt(3) * float(2 * (Fraction(u) + Fraction(1, 2)) / 2**32 - 1) for u in words]


def test_the_empty_string_follows_the_published_shake256_values() -> None:
    vector = HashEncoder(dim=4).encode([""])[0]
    assert vector.tolist() == np.array(by_hand(SHAKE256_OF_NOTHING), np.float32).tolist()


@pytest.mark.parametrize("text", TEXTS)
def test_every_string_follows_the_formula(text: str) -> None:
    digest = hashlib.shake_256(text.encode()).digest(4 * 64)
    assert HashEncoder().encode([text])[0].tolist() == np.array(by_hand(digest), np.float32).tolist()


def test_vectors_have_unit_variance_and_stay_within_root_three() -> None:
    vectors = HashEncoder(dim=64).encode([str(i) for i in range(2000)])
    assert abs(vectors.mean()) < 0.01
    assert abs(vectors.var() - 1) < 0.01
    assert np.abs(vectors).max() <= np.float32(sqrt(3))


@given(st.lists(st.text(st.characters(), max_size=20), max_size=6))
def test_a_string_has_the_same_vector_alone_and_in_a_batch(texts: list[str]) -> None:
    encoder = HashEncoder(dim=8)
    batch = encoder.encode(texts)
    assert batch.dtype == np.float32
    assert batch.shape == (len(texts), 8)
    for text, vector in zip(texts, batch, strict=True):
        assert np.array_equal(encoder.encode([text])[0], vector)


def test_lone_surrogates_are_hashed_in_their_three_byte_form() -> None:
    vectors = HashEncoder().encode(["\ud800", "\ud801", "\N{REPLACEMENT CHARACTER}"])
    assert len(np.unique(vectors, axis=0)) == 3
    digest = hashlib.shake_256(b"\xed\xa0\x80").digest(4 * 64)
    assert vectors[0].tolist() == np.array(by_hand(digest), np.float32).tolist()


def test_a_shorter_vector_is_the_beginning_of_a_longer_one() -> None:
    assert np.array_equal(HashEncoder(dim=8).encode(TEXTS), HashEncoder(dim=64).encode(TEXTS)[:, :8])


def test_no_texts_give_no_rows() -> None:
    assert HashEncoder(dim=5).encode([]).shape == (0, 5)


def test_a_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="reads no model"):
        create_text_encoder(TextEncoderSpec(encoder="hash", text_model="some/model"))
