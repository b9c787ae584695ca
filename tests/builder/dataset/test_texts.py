import numpy as np
import pytest

from builder.dataset.texts import CHUNK_TEXTS, TextStore
from pragmatiq_triton.errors import ArtifactError
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
