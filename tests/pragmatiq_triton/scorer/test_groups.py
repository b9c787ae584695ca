import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.scorer.groups import exact_length_chunks, gather_rows


@given(st.lists(st.integers(1, 12), max_size=60), st.integers(1, 40))
def test_chunks(lengths: list[int], max_tokens: int) -> None:
    chunks = exact_length_chunks(np.array(lengths, np.int64), max_tokens)
    chunk_lengths = [{lengths[i] for i in chunk} for chunk in chunks]
    assert all(len(distinct) == 1 for distinct in chunk_lengths)
    assert sorted(i for chunk in chunks for i in chunk) == list(range(len(lengths)))
    work = [len(chunk) * lengths[chunk[0]] for chunk in chunks]
    assert all(slots <= max_tokens or len(chunk) == 1 for slots, chunk in zip(work, chunks, strict=True))
    assert work == sorted(work, reverse=True)


def test_chunks_of_one_length_are_nearly_equal() -> None:
    assert sorted(map(len, exact_length_chunks(np.full(10, 3), max_tokens=12))) == [3, 3, 4]


def test_gather_rows() -> None:
    assert gather_rows(np.array([4, 0]), 3).tolist() == [[4, 5, 6], [0, 1, 2]]
    assert gather_rows(np.array([4, 0]), 0).shape == (2, 0)
