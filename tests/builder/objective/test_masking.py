import numpy as np
import pytest

from pragmatiq_builder.objective import Masked, Masking, mask_values
from pragmatiq_builder.objective.masking import IGNORED, MASK, UNK
from pragmatiq_triton.batch import Batch, Token, UserFeatures, collate

N_USERS, N_EVENTS, N_TOKENS = 30, 40, 10


@pytest.fixture
def batch() -> Batch:
    """Ten keys per event, the last of them text."""
    rng = np.random.default_rng(0)
    users = []
    for _ in range(N_USERS):
        n = N_EVENTS * N_TOKENS
        tokens = np.stack(
            [np.tile(np.arange(5, 15), N_EVENTS), rng.integers(15, 99, n), np.zeros(n), np.full(n, -1)], 1
        )
        tokens[N_TOKENS - 1 :: N_TOKENS, Token.TEXT] = 0
        events = np.tile([N_TOKENS, 0, 1, 2, 3], (N_EVENTS, 1))
        profile = np.zeros((0, 3), np.int32)
        users.append(
            UserFeatures(tokens.astype(np.int32), events.astype(np.float32), profile, np.zeros(0, np.float32), ("a",))
        )
    return collate(users, [np.ones((1, 2), np.float32)] * N_USERS, 2)


def selected(masked: Masked) -> np.ndarray:
    return (masked.value_ids == MASK) | (masked.value_ids == UNK)


def mask(batch: Batch, seed: int = 0, **probabilities: float) -> Masked:
    return mask_values(batch, Masking(**probabilities), np.random.default_rng(seed))


def test_the_union_of_three_selections_has_the_expected_size(batch: Batch) -> None:
    assert selected(mask(batch)).mean() == pytest.approx(1 - 0.85 * 0.9 * 0.9, abs=0.02)


def test_event_and_key_selections_are_whole(batch: Batch) -> None:
    only_events = selected(mask(batch, p_token=0, p_event=0.1, p_key=0)).reshape(-1, N_TOKENS)
    assert (only_events.all(axis=1) | ~only_events.any(axis=1)).all()
    assert only_events.mean() == pytest.approx(0.1, abs=0.03)
    only_keys = selected(mask(batch, p_token=0, p_event=0, p_key=0.1)).reshape(N_USERS, N_EVENTS, N_TOKENS)
    assert (only_keys.all(axis=1) | ~only_keys.any(axis=1)).all()
    assert 0 < only_keys.mean() < 0.25
    assert len({tuple(keys) for keys in only_keys.any(axis=1)}) > 5


def test_a_tenth_of_the_selected_is_unknown_and_in_no_loss(batch: Batch) -> None:
    masked = mask(batch)
    unknown = masked.value_ids == UNK
    assert unknown.sum() / selected(masked).sum() == pytest.approx(0.1, abs=0.02)
    assert (masked.labels[unknown] == IGNORED).all()
    assert not np.isin(masked.text_targets, np.flatnonzero(unknown)).any()


def test_values_and_text_are_hidden_exactly_where_selected(batch: Batch) -> None:
    masked, values = mask(batch), batch.tokens[:, Token.VALUE]
    is_text = batch.tokens[:, Token.TEXT] >= 0
    predicted = masked.labels != IGNORED
    assert np.array_equal(predicted, (masked.value_ids == MASK) & ~is_text)
    assert np.array_equal(masked.labels[predicted], values[predicted])
    assert np.array_equal(masked.value_ids[~selected(masked)], values[~selected(masked)])
    assert np.array_equal(masked.text_targets, np.flatnonzero((masked.value_ids == MASK) & is_text))
    assert np.array_equal(masked.feed_text, is_text & ~selected(masked))


def test_the_seed_decides(batch: Batch) -> None:
    assert np.array_equal(mask(batch, 1).value_ids, mask(batch, 1).value_ids)
    assert not np.array_equal(mask(batch, 1).value_ids, mask(batch, 2).value_ids)


def test_a_batch_without_tokens_masks_nothing() -> None:
    masked = mask(collate([], []))
    assert len(masked.value_ids) == len(masked.text_targets) == 0
