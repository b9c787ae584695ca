import numpy as np
import pytest

from pragmatiq_triton.boards import SEAL_KEY
from pragmatiq_triton.errors import ConfigError, UnsealedError
from pragmatiq_triton.serving.seals import Seals
from pragmatiq_triton.tensors import pack_texts, pack_users
from tests.pragmatiq_triton.test_tensors import user

KEY = bytes(range(32))


def handed_on(*texts, n_users=2):
    """What the tokenizer answers to one request."""
    users = [user(3, 2, texts) for _ in range(n_users)]
    return {**pack_users(users), **pack_texts(users)}


@pytest.fixture
def seals():
    return Seals(KEY)


@pytest.fixture
def request_of(seals):
    """A request's tensors with both seals, as the scorer gets them."""

    def make(*texts):
        arrays = handed_on(*texts)
        seal = seals.of_tokens(arrays)
        vectors = np.arange(2 * max(len(texts), 1) * 4, dtype=np.float32).reshape(2, -1, 4)
        return {**arrays, "text_vectors": vectors}, seal, seals.of_vectors({"text_vectors": vectors}, seal)

    return make


def test_what_was_sealed_is_taken(seals, request_of):
    for texts in (("a shop", "another"), ()):
        arrays, seal, vectors_seal = request_of(*texts)
        assert (seal.shape, vectors_seal.shape) == ((2, 32), (2, 16))
        seals.check_texts(arrays, seal)
        seals.check_users(arrays, seal, vectors_seal)


@pytest.mark.parametrize("name", ["tokens", "events", "event_keys", "profile", "profile_times", "text_vectors"])
def test_one_changed_byte_is_found(seals, request_of, name):
    arrays, seal, vectors_seal = request_of("a shop")
    changed = arrays[name].copy()
    changed.view(np.uint8).reshape(-1)[0] ^= 1
    with pytest.raises(UnsealedError, match="ask the ensemble"):
        seals.check_users({**arrays, name: changed}, seal, vectors_seal)


@pytest.mark.parametrize("name", ["texts", "text_offsets"])
def test_one_changed_byte_of_texts_is_found(seals, request_of, name):
    arrays, seal, _ = request_of("a shop")
    changed = arrays[name].copy()
    changed.view(np.uint8).reshape(-1)[0] ^= 1
    with pytest.raises(UnsealedError):
        seals.check_texts({**arrays, name: changed}, seal)


def test_good_parts_of_two_requests_are_not_one(seals, request_of):
    first, seal, vectors_seal = request_of("a shop")
    other = {**first, "tokens": first["tokens"] + 1}
    others_seal = seals.of_tokens(other)
    others_vectors_seal = seals.of_vectors(other, others_seal)
    with pytest.raises(UnsealedError):
        seals.check_users(first, others_seal, others_vectors_seal)
    with pytest.raises(UnsealedError):
        seals.check_users(first, seal, others_vectors_seal)
    with pytest.raises(UnsealedError):
        seals.check_texts(first, np.hstack([others_seal[:, :16], seal[:, 16:]]))
    seals.check_users(first, seal, vectors_seal)


@pytest.mark.parametrize("seal", [None, np.zeros((2, 32), np.uint8), np.zeros((0, 32), np.uint8)])
def test_without_a_seal_nothing_is_taken(seals, request_of, seal):
    arrays, _, vectors_seal = request_of("a shop")
    with pytest.raises(UnsealedError):
        seals.check_users(arrays, seal, vectors_seal)
    with pytest.raises(UnsealedError):
        seals.check_texts(arrays, seal)


def test_another_shape_or_type_of_the_same_bytes_is_another_tensor(seals):
    arrays = handed_on()
    seal = seals.of_tokens(arrays)
    for name, changed in (
        ("tokens", arrays["tokens"].reshape(1, -1, 4)),
        ("tokens", arrays["tokens"].view(np.uint32)),
        ("profile_times", arrays["profile_times"].view(np.int32)),
    ):
        with pytest.raises(UnsealedError):
            seals.check_users({**arrays, name: changed}, seal, None)


def test_another_start_has_another_key(seals, request_of):
    arrays, seal, vectors_seal = request_of("a shop")
    with pytest.raises(UnsealedError):
        Seals(bytes(32)).check_users(arrays, seal, vectors_seal)


def test_without_a_key_everything_is_taken(monkeypatch):
    monkeypatch.delenv(SEAL_KEY, raising=False)
    seals = Seals.of_process()
    arrays = handed_on("a shop")
    assert not seals.of_tokens(arrays).any()
    seals.check_texts(arrays, None)
    seals.check_users(arrays, None, None)


@pytest.mark.parametrize("word", ["xyz", "00", "0" * 63, "0" * 66])
def test_what_is_no_key_is_refused(monkeypatch, word):
    monkeypatch.setenv(SEAL_KEY, word)
    with pytest.raises(ConfigError, match="expected 64 hexadecimal digits"):
        Seals.of_process()
