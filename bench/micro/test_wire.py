"""Between the models: a request's users become padded tensors, and those a packed batch."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pragmatiq_triton.batch import Float32, UserFeatures, collate
from pragmatiq_triton.tensors import TEXT_VECTORS, pack_texts, pack_users, unpack_texts, unpack_users

pytestmark = pytest.mark.parametrize("variant", ["embed"], indirect=True)
of_several_users = pytest.mark.parametrize("n_users", [1, 8], ids="users={}".format)


@pytest.mark.benchmark(group="wire: pack_users")
@of_several_users
def test_pack_users(benchmark: BenchmarkFixture, user: UserFeatures, n_users: int) -> None:
    packed = benchmark(pack_users, [user] * n_users)
    for name in ("tokens", "events", "event_keys", "profile", "profile_times"):
        np.testing.assert_array_equal(packed[name], np.stack([getattr(user, name)] * n_users), name)


@pytest.mark.benchmark(group="wire: pack_texts")
def test_pack_texts(benchmark: BenchmarkFixture, user: UserFeatures) -> None:
    packed = benchmark(pack_texts, [user])
    assert unpack_texts(packed) == [[text.encode() for text in user.texts]]


@pytest.mark.benchmark(group="wire: unpack_texts")
def test_unpack_texts(benchmark: BenchmarkFixture, user: UserFeatures) -> None:
    (texts,) = benchmark(unpack_texts, pack_texts([user]))
    assert texts == [text.encode() for text in user.texts]


@pytest.mark.benchmark(group="wire: unpack_users")
@of_several_users
def test_unpack_users(benchmark: BenchmarkFixture, user: UserFeatures, text_vectors: Float32, n_users: int) -> None:
    request = {**pack_users([user] * n_users), TEXT_VECTORS: np.stack([text_vectors] * n_users)}
    users = benchmark(unpack_users, request)
    assert len(users) == n_users
    for found, vectors in users:
        np.testing.assert_array_equal(vectors, text_vectors)
        for name in ("tokens", "events", "event_keys", "profile", "profile_times"):
            np.testing.assert_array_equal(getattr(found, name), getattr(user, name), name)


@pytest.mark.benchmark(group="wire: collate")
@of_several_users
def test_collate(benchmark: BenchmarkFixture, user: UserFeatures, text_vectors: Float32, n_users: int) -> None:
    batch = benchmark(collate, [user] * n_users, [text_vectors] * n_users)
    assert batch.n_users == n_users
    assert len(batch.text_vectors) == n_users * len(user.texts)
    np.testing.assert_array_equal(batch.event_keys, np.tile(user.event_keys, (n_users, 1)))
