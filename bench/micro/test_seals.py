"""Sealing what the tokenizer hands on, and holding it against its seal: once each for a request."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pragmatiq_triton.batch import UserFeatures
from pragmatiq_triton.serving.seals import Seals
from pragmatiq_triton.tensors import pack_texts, pack_users

SEALS = Seals(bytes(32))


@pytest.mark.benchmark(group="seal: made")
def test_made(benchmark: BenchmarkFixture, user: UserFeatures) -> None:
    handed_on = {**pack_users([user]), **pack_texts([user])}
    assert benchmark(SEALS.of_tokens, handed_on).shape == (1, 32)


@pytest.mark.benchmark(group="seal: held against the tensors")
def test_checked(benchmark: BenchmarkFixture, user: UserFeatures) -> None:
    handed_on = {**pack_users([user]), **pack_texts([user])}
    seal = SEALS.of_tokens(handed_on)
    benchmark(SEALS.check_users, handed_on, seal, None)
