import numpy as np
import pytest

from pragmatiq_builder.dataset.texts import CHUNK_TEXTS, TextStore
from pragmatiq_triton.errors import ArtifactError, NotFiniteError
from pragmatiq_triton.text_encoders import TextEncoderSpec, create_text_encoder

HASH = create_text_encoder(TextEncoderSpec(encoder="hash", dim=4))
TEXTS = ["", "shop", "a\0b", "日本 🍕", *(f"shop {i}" for i in range(2 * CHUNK_TEXTS))]


class Breaking:
    """The hash encoder, failing after a number of calls and counting what it was asked."""

    name, dim, revision = HASH.name, HASH.dim, HASH.revision

    def __init__(self, calls):
        self.calls = calls
        self.asked = []

    def encode(self, texts):
        if self.calls == 0:
            raise KeyboardInterrupt
        self.calls -= 1
        self.asked += texts
        return HASH.encode(texts)


def test_strings_and_vectors_come_back(tmp_path):
    store = TextStore.create(tmp_path, TEXTS, HASH)
    store.embed(HASH)
    again = TextStore.load(tmp_path)
    assert again.texts() == TEXTS
    assert again.texts(2, 4) == TEXTS[2:4]
    np.testing.assert_array_equal(again.vectors(np.array([3, 0])), HASH.encode([TEXTS[3], TEXTS[0]]))


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    broken = Breaking(calls=2)
    with pytest.raises(KeyboardInterrupt):
        TextStore.create(tmp_path, TEXTS, broken).embed(broken)
    with pytest.raises(ArtifactError, match="2048 of"):
        TextStore.load(tmp_path).vectors(np.array([0]))
    rest = Breaking(calls=9)
    store = TextStore.create(tmp_path, TEXTS, rest)
    store.embed(rest)
    assert rest.asked == TEXTS[2 * CHUNK_TEXTS :]
    np.testing.assert_array_equal(store.vectors(np.arange(len(TEXTS))), HASH.encode(TEXTS))


def test_other_strings_start_anew_and_leave_linked_copies_alone(tmp_path):
    store = TextStore.create(tmp_path / "tok", TEXTS, HASH)
    store.embed(HASH)
    store.link(tmp_path / "run")
    TextStore.create(tmp_path / "tok", ["other"], HASH).embed(HASH)
    assert TextStore.load(tmp_path / "tok").texts() == ["other"]
    linked = TextStore.load(tmp_path / "run")
    assert linked.texts() == TEXTS
    np.testing.assert_array_equal(linked.vectors(np.array([1])), HASH.encode(["shop"]))


def test_no_strings_at_all(tmp_path):
    store = TextStore.create(tmp_path, [], HASH)
    store.embed(HASH)
    assert store.vectors(np.zeros(0, np.int64)).shape == (0, 4)


def test_a_vector_that_is_not_finite_is_refused_by_its_string(tmp_path):
    class Broken(Breaking):
        def encode(self, texts):
            vectors = super().encode(texts)
            vectors[[text == "shop 3" for text in texts], 2] = np.inf
            return vectors

    encoder = Broken(calls=9)
    with pytest.raises(NotFiniteError, match=r"text encoder 'hash': 1 of 1024 rows .* row 7, 'shop 3'"):
        TextStore.create(tmp_path, TEXTS, encoder).embed(encoder)
    assert not TextStore.load(tmp_path).is_complete


def test_kept_vectors_that_are_not_finite_are_refused(tmp_path):
    store = TextStore.create(tmp_path, TEXTS, HASH)
    store.embed(HASH)
    np.lib.format.open_memmap(tmp_path / "vectors.npy", "r+")[2, 0] = np.nan
    assert store.vectors(np.array([0, 1, 3])).shape == (3, 4)
    with pytest.raises(NotFiniteError, match=r"vectors\.npy: 1 of 2 rows hold NaN .*tokenize again"):
        store.vectors(np.array([0, 2]))
