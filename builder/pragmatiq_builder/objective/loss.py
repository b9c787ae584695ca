"""The loss of masked-value prediction: cross-entropy over values, squared error over text vectors."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pragmatiq_builder.network import BatchTensors, Encoded, MaskedValueHead
from pragmatiq_builder.objective.cross_entropy import linear_cross_entropy
from pragmatiq_builder.objective.masking import IGNORED, Masked
from pragmatiq_triton.batch import Batch, Token


class Targets(NamedTuple):
    """What is to be predicted, int64 each: ``labels`` [m] at event tokens ``tokens`` [m], and row ``text_index`` [k]
    of the batch's text vectors at event tokens ``text_tokens`` [k].
    """

    tokens: Tensor
    labels: Tensor
    text_tokens: Tensor
    text_index: Tensor

    @classmethod
    def of(cls, batch: Batch, masked: Masked, device: torch.device | str = "cpu") -> "Targets":
        tokens = np.flatnonzero(masked.labels != IGNORED)
        text_index = batch.tokens[masked.text_targets, Token.TEXT].astype(np.int64)
        arrays = (tokens, masked.labels[tokens], masked.text_targets, text_index)
        return cls(*(torch.from_numpy(array).to(device, non_blocking=True) for array in arrays))


class Losses(NamedTuple):
    """Scalars: ``loss`` = ``ce`` + text_loss_weight * ``mse``; ``n_correct`` of the m masked values were found."""

    loss: Tensor
    ce: Tensor
    mse: Tensor
    n_correct: Tensor


def masked_value_loss(
    encoded: Encoded,
    batch: BatchTensors,
    targets: Targets,
    head: MaskedValueHead,
    table: Tensor,
    *,
    text_loss_weight: float = 1.0,
    label_smoothing: float = 0.1,
) -> Losses:
    """What the network pays for ``targets``; only their rows go through ``head``.

    ``table`` [vocab_size, d] is the network's token table. A batch with nothing masked costs a 0 with a graph.
    """

    def context(tokens: Tensor) -> Tensor:
        events = batch.token_events.index_select(0, tokens)
        users = batch.event_users.index_select(0, events)
        return head.context(
            encoded.token_states.index_select(0, tokens),
            encoded.event_states.index_select(0, events),
            encoded.user_embedding.index_select(0, users),
        )

    ce, n_correct = linear_cross_entropy(head.proj(context(targets.tokens)), table, targets.labels, label_smoothing)
    if head.text_out is None:
        return Losses(ce, ce, ce.new_zeros(()), n_correct)
    predicted = head.text_out(context(targets.text_tokens)).float()
    wanted = batch.text_vectors.index_select(0, targets.text_index)
    mse = F.mse_loss(predicted, wanted, reduction="sum") / max(predicted.numel(), 1)
    return Losses(ce + text_loss_weight * mse, ce, mse, n_correct)
