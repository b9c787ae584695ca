from itertools import pairwise

import numpy as np
import pytest
import torch

from pragmatiq_builder.objective import Masking
from pragmatiq_builder.training.data import Example, Position, examples, plan_epoch, split_users
from tests.builder.training.memory_dataset import MemoryDataset

COUNTS = np.array([10, 40, 3, 90, 25, 25, 60, 7, 1, 30])


def test_batches_keep_the_budget_and_hold_every_user_once() -> None:
    plan = plan_epoch(np.arange(10), COUNTS, 70, [0])
    assert sorted(np.concatenate(plan).tolist()) == list(range(10))
    assert all(COUNTS[users].sum() <= 70 or users.tolist() == [3] for users in plan)


def test_batches_are_filled_until_the_next_user_does_not_fit() -> None:
    plan = plan_epoch(np.arange(10), COUNTS, 70, [0])
    for users, following in pairwise(plan):
        assert COUNTS[users].sum() + COUNTS[following[0]] > 70


def test_the_plan_is_a_function_of_seed_and_epoch() -> None:
    def order(*seed: int) -> list[int]:
        return np.concatenate(plan_epoch(np.arange(10), COUNTS, 70, seed)).tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(*seed)) for seed in [(1, 0), (1, 1), (2, 0)]}) == 3


def test_split_keeps_a_user_on_its_side_as_the_data_grows(tokenizer: tuple) -> None:
    small, large = MemoryDataset(*tokenizer, n_users=500), MemoryDataset(*tokenizer, n_users=1000)
    large.token_counts[:500] = small.token_counts
    training, held_out = split_users(small, 0.2, seed=7)
    assert sorted([*training, *held_out]) == np.flatnonzero(small.token_counts).tolist()
    assert len(held_out) / len(training) == pytest.approx(0.25, abs=0.07)
    _, held_out_of_large = split_users(large, 0.2, seed=7)
    assert held_out_of_large[held_out_of_large < 500].tolist() == held_out.tolist()
    assert split_users(small, 0.2, seed=8)[1].tolist() != held_out.tolist()


def test_examples_go_on_where_they_were_left(data: MemoryDataset) -> None:
    users, _ = split_users(data, 0, 0)

    def stream(start: Position, epochs: int | None = 3) -> list[Example]:
        return list(examples(data, users, 60, Masking(), (5,), torch.device("cpu"), start, epochs))

    whole = stream(Position(0, 0))
    assert len({example.next.epoch for example in whole}) == 3
    for i in (0, len(whole) // 2, len(whole) - 2):
        rest = stream(whole[i].next)
        assert len(rest) == len(whole) - i - 1
        assert torch.equal(rest[0].tensors.value_ids, whole[i + 1].tensors.value_ids)
        assert torch.equal(rest[0].targets.labels, whole[i + 1].targets.labels)


def test_an_error_while_preparing_reaches_the_trainer(data: MemoryDataset) -> None:
    stream = examples(data, np.array([10**6]), 60, Masking(), (5,), torch.device("cpu"))
    with pytest.raises(IndexError):
        next(stream)
