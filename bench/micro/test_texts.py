"""Strings become their frozen vectors: out of the cache of those that came lately, and out of the table behind it."""

from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pragmatiq_triton.batch import Float32, UserFeatures
from pragmatiq_triton.cache.vectors import VectorCache
from pragmatiq_triton.serving.parameters import TextEmbedderParameters
from pragmatiq_triton.text_encoders.cached import CachedTextEncoder
from pragmatiq_triton.text_encoders.table import TableEncoder, save_table

pytestmark = pytest.mark.parametrize("variant", ["embed"], indirect=True)

OTHERS = 2000
"""Strings of the table that are not asked for."""


@pytest.fixture
def table(user: UserFeatures, text_vectors: Float32, tmp_path: Path) -> TableEncoder:
    texts = [*user.texts, *(f"somebody else's {number}" for number in range(OTHERS))]
    save_table(tmp_path, texts, np.pad(text_vectors, ((0, OTHERS), (0, 0))))
    return TableEncoder.load(tmp_path)


@pytest.mark.benchmark(group="texts of a history: table")
def test_table(benchmark: BenchmarkFixture, user: UserFeatures, text_vectors: Float32, table: TableEncoder) -> None:
    np.testing.assert_array_equal(benchmark(table.encode, user.texts), text_vectors)


@pytest.mark.benchmark(group="texts of a history: cache")
def test_cache(benchmark: BenchmarkFixture, user: UserFeatures, text_vectors: Float32, table: TableEncoder) -> None:
    texts = [text.encode() for text in user.texts]
    cached = CachedTextEncoder(table, VectorCache(table.dim, TextEmbedderParameters().text_cache_bytes))
    cached.encode(texts)
    out = np.zeros_like(text_vectors)
    missing = benchmark(cached.known, texts, out)
    assert not len(missing)
    np.testing.assert_array_equal(out, text_vectors)
