import numpy as np
import pytest

from pragmatiq_triton import finite
from pragmatiq_triton.errors import NotFiniteError
from pragmatiq_triton.finite import not_finite_rows, require_finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_with_nan_or_infinity_are_found(value, dtype, monkeypatch):
    monkeypatch.setattr(finite, "_ROWS_AT_ONCE", 3)
    vectors = np.ones((8, 2), dtype)
    vectors[[0, 4, 7], [1, 0, 1]] = value
    assert not_finite_rows(vectors).tolist() == [0, 4, 7]


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (4, 3)])
def test_finite_vectors_pass(shape):
    require_finite("v", np.zeros(shape, np.float32), "")


def test_the_error_counts_and_names_the_first_row():
    vectors = np.zeros((5, 2), np.float32)
    vectors[3:, 0] = np.nan
    with pytest.raises(NotFiniteError, match="v: 2 of 5 rows hold NaN or infinity, the first is row 3; do this"):
        require_finite("v", vectors, "do this")
