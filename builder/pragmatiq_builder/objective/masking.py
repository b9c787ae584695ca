"""Which values of a batch are hidden (PRAGMA, arXiv 2604.08649): single tokens, whole events, whole keys of a user."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Batch, Int32, Int64, Token
from pragmatiq_triton.tokenizer.vocabulary import MASK, UNK

IGNORED = -100

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Masking:
    """Probabilities: of a token, an event, a user's key to be selected; of a selected token to become ``[UNK]``."""

    p_token: float = 0.15
    p_event: float = 0.10
    p_key: float = 0.10
    p_unk: float = 0.10


@dataclass(frozen=True, slots=True)
class Masked:
    """A batch's event tokens with values hidden, each array in token order.

    ``value_ids`` int32 [T] as the network sees them; ``labels`` int64 [T], -100 where nothing is to be predicted;
    ``feed_text`` bool [T]: text tokens that keep their vector; ``text_targets`` int64 [k]: the text tokens whose
    vector is to be predicted.
    """

    value_ids: Int32
    labels: Int64
    feed_text: Bool
    text_targets: Int64


def mask_values(batch: Batch, masking: Masking, rng: np.random.Generator) -> Masked:
    """Select tokens as ``masking`` says and hide their values; keys, positions and the profile stay.

    Most of the selected become ``[MASK]`` and are to be predicted. The others become ``[UNK]`` and count in no loss,
    so that the network meets unknown values before serving does.
    """
    selected = _select(batch, masking, rng)
    as_unknown = selected & (rng.random(len(selected)) < masking.p_unk)
    as_mask = selected & ~as_unknown
    is_text = batch.tokens[:, Token.TEXT] >= 0
    values = batch.tokens[:, Token.VALUE]
    return Masked(
        value_ids=np.select([as_mask, as_unknown], [MASK, UNK], values).astype(np.int32),
        labels=np.where(as_mask & ~is_text, values, IGNORED).astype(np.int64),
        feed_text=is_text & ~selected,
        text_targets=np.flatnonzero(as_mask & is_text),
    )


def _select(batch: Batch, masking: Masking, rng: np.random.Generator) -> Bool:
    n_tokens, token_counts = len(batch.tokens), batch.token_counts
    events = rng.random(len(token_counts)) < masking.p_event
    token_users = np.repeat(np.repeat(np.arange(batch.n_users), np.diff(batch.event_cu_seqlens)), token_counts)
    keys = batch.tokens[:, Token.KEY].astype(np.int64)
    user_keys, key_of_token = np.unique(token_users << 32 | keys, return_inverse=True)
    chosen_keys = rng.random(len(user_keys)) < masking.p_key
    tokens = rng.random(n_tokens) < masking.p_token
    return tokens | np.repeat(events, token_counts) | chosen_keys[key_of_token]
