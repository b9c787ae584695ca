import numpy as np
import pytest

from pragmatiq_triton.batch import UserFeatures
from pragmatiq_triton.errors import RecordError
from pragmatiq_triton.tensors import TEXT_VECTORS, pack_texts, pack_users, unpack_texts, unpack_users


def user(n_events, n_profile, texts=()):
    counts = np.arange(1, n_events + 1)
    events = np.column_stack([counts, np.zeros((n_events, 4))]).astype(np.float32)
    tokens = np.random.default_rng(n_events).integers(3, 90, (counts.sum(), 4)).astype(np.int32)
    tokens[:, 3] = np.arange(len(tokens)) % (len(texts) + 1) - 1
    profile = np.full((n_profile, 3), 7, np.int32)
    keys = np.random.default_rng(n_events).integers(0, 2**64, (n_events, 2), np.uint64, endpoint=False)
    return UserFeatures(tokens, events, profile, np.ones(n_profile, np.float32), tuple(texts), event_keys=keys)


USERS = [
    user(3, 2, ["SHOP", "", "a\0b"]),
    user(0, 0),
    user(1, 5, ["日本 🍕"]),
    user(2, 0),
]


@pytest.mark.parametrize("users", [USERS, USERS[:1], USERS[1:2]], ids=["four", "one", "empty"])
def test_users_survive_the_wire(users):
    texts = unpack_texts(pack_texts(users))
    assert texts == [[text.encode() for text in each.texts] for each in users]
    widest = max(map(len, texts))
    vectors = np.random.default_rng(0).normal(size=(len(users), widest, 8)).astype(np.float32)
    for expected, (got, got_vectors), sent in zip(
        users, unpack_users({**pack_users(users), TEXT_VECTORS: vectors}), vectors, strict=True
    ):
        np.testing.assert_array_equal(got.tokens, expected.tokens)
        np.testing.assert_array_equal(got.events, expected.events)
        np.testing.assert_array_equal(got.event_keys, expected.event_keys)
        np.testing.assert_array_equal(got.profile, expected.profile)
        np.testing.assert_array_equal(got.profile_times, expected.profile_times)
        np.testing.assert_array_equal(got_vectors, sent)


def test_arrays_that_do_not_fit_together_are_refused():
    arrays = {**pack_users(USERS[:1]), TEXT_VECTORS: np.zeros((1, 3, 8), np.float32)}
    with pytest.raises(RecordError, match="at most"):
        unpack_users({**arrays, "tokens": arrays["tokens"][:, :2]})
    with pytest.raises(RecordError, match="event_keys: expected 3, one per event, got 2"):
        unpack_users({**arrays, "event_keys": arrays["event_keys"][:, :2]})
    with pytest.raises(RecordError, match="text numbers"):
        unpack_users({**arrays, TEXT_VECTORS: np.zeros((1, 1, 8), np.float32)})
    texts = pack_texts(USERS[:1])
    with pytest.raises(RecordError, match="ascending"):
        unpack_texts({**texts, "text_offsets": texts["text_offsets"][:, ::-1]})
