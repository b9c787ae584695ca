from dataclasses import replace

import numpy as np
import pytest

from pragmatiq_triton.batch import Batch, UserFeatures, collate
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.scorer.checks import check_events, check_profiles

VOCAB_SIZE = 10


@pytest.fixture
def batch() -> Batch:
    user = UserFeatures(
        tokens=np.array([[1, 9, 0, -1], [0, 2, 3, 1]], np.int32),
        events=np.array([[2, 0, 1, 1, 1]], np.float32),
        profile=np.array([[9, 0, 0]], np.int32),
        profile_times=np.zeros(1, np.float32),
        texts=("a", "b"),
    )
    return collate([user], [np.zeros((2, 4), np.float32)])


def check(batch: Batch, text_dim: int = 4) -> None:
    check_events(batch, VOCAB_SIZE, text_dim)
    check_profiles(batch, VOCAB_SIZE)


def test_a_batch_that_fits(batch: Batch) -> None:
    check(batch)


@pytest.mark.parametrize(
    ("name", "where", "value", "message"),
    [
        ("tokens", (1, 0), 10, r"tokens\[1\]: key id 10, expected 0 to 9"),
        ("tokens", (0, 1), -1, r"tokens\[0\]: value id -1"),
        ("tokens", (0, 2), -2, r"tokens\[0\]: position -2"),
        ("tokens", (1, 3), 2, r"tokens\[1\]: text index 2, expected -1 to 1"),
        ("tokens", (1, 3), -2, r"tokens\[1\]: text index -2"),
        ("profile", (0, 1), 10, r"profile\[0\]: value id 10"),
        ("profile", (0, 0), -1, r"profile\[0\]: key id -1"),
        ("events", (0, 0), 3, r"tokens: 2 rows, but the events' token counts say 3"),
        ("event_cu_seqlens", 1, 2, r"events: 1 rows, but event_cu_seqlens say 2"),
        ("profile_cu_seqlens", 1, 0, r"profile: 1 rows, but profile_cu_seqlens say 0"),
    ],
)
def test_a_number_out_of_range(batch: Batch, name: str, where: tuple[int, int] | int, value: int, message: str) -> None:
    array = getattr(batch, name).copy()
    array[where] = value
    with pytest.raises(DataError, match=message):
        check(replace(batch, **{name: array}))


def test_negative_lengths_that_add_up(batch: Batch) -> None:
    with pytest.raises(DataError, match="shortest -1"):
        check(replace(batch, profile_cu_seqlens=np.array([0, 2, 1])))


@pytest.mark.parametrize(("text_dim", "message"), [(8, "vectors of 8 numbers"), (0, "no text branch")])
def test_text_vectors_of_another_model(batch: Batch, text_dim: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check(batch, text_dim)
