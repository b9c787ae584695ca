import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.batch import Event, Token, UserFeatures, collate


def user_of(token_counts):
    """Every token names its event's number."""
    tokens = np.zeros((sum(token_counts), 4), np.int32)
    tokens[:, Token.KEY] = np.repeat(np.arange(len(token_counts)), token_counts)
    tokens[:, Token.POSITION] = np.arange(len(tokens))
    events = np.zeros((len(token_counts), 5), np.float32)
    events[:, Event.TOKENS] = token_counts
    return UserFeatures(tokens, events, np.zeros((0, 3), np.int32), np.zeros(0, np.float32))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
def test_tokens_of_events_in_any_order(token_counts, data):
    rows = data.draw(st.lists(st.integers(0, len(token_counts) - 1), max_size=6))
    batch = collate([user_of(token_counts)], [])
    tokens = batch.tokens_of(np.array(rows, np.int64))
    np.testing.assert_array_equal(
        tokens, np.concatenate([np.zeros((0, 4)), *(batch.tokens[batch.tokens[:, Token.KEY] == row] for row in rows)])
    )
    assert not np.shares_memory(tokens, batch.tokens)
