import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.tokenizer.fields import TextNumbering, cut_tails, group_values, ranges


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=20))
def test_ranges_are_the_aranges(pairs):
    starts = np.array([start for start, _ in pairs], np.int64)
    lengths = np.array([length for _, length in pairs], np.int64)
    expected = [number for start, length in pairs for number in range(start, start + length)]
    assert ranges(starts, lengths).tolist() == expected


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 5))
def test_cut_tails_keeps_the_front_of_each(lengths, most):
    tokens = np.arange(sum(lengths))[:, np.newaxis].astype(np.int32)
    rows, kept_lengths = cut_tails(np.array(lengths, np.int64), most)
    kept = tokens[rows]
    sequences = np.split(tokens[:, 0], np.cumsum(lengths)[:-1]) if lengths else []
    assert kept[:, 0].tolist() == [number for sequence in sequences for number in sequence[:most]]
    assert kept_lengths.tolist() == [min(length, most) for length in lengths]


def test_group_values_keeps_every_field_in_its_slot():
    pairs = [("a", "1"), ("b", "x"), ("a", "2"), ("a", "1")]
    columns, n_fields = group_values([*pairs, ("never seen", "z")], {"a": "text", "b": "numeric"}.get)
    laid = {
        int(slot): (column.key, value)
        for column in columns
        for slot, value in zip(column.slots, column.values, strict=True)
    }
    assert n_fields == 5
    assert [laid.get(slot) for slot in range(n_fields)] == [*pairs, None]


def test_texts_are_numbered_once():
    texts = TextNumbering()
    assert texts.number(["x", "y", "x"]).tolist() == [0, 1, 0]
    assert texts.number(["y", "z"]).tolist() == [1, 2]
    assert texts.texts == ["x", "y", "z"]
