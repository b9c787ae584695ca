"""The head of masked-value prediction."""

import torch
from torch import Tensor, nn


class MaskedValueHead(nn.Module):
    """Reads c = [token state, history state of its event, user embedding].

    ``proj`` leads to the space of the token table, whose transpose gives the logits (tied); ``text_out``, where
    ``text_dim`` > 0, leads to that of the frozen text vectors.
    """

    def __init__(self, dim: int, text_dim: int = 0) -> None:
        super().__init__()
        self.proj = nn.Linear(3 * dim, dim)
        self.text_out = nn.Linear(3 * dim, text_dim) if text_dim else None

    def forward(self, context: Tensor, table: Tensor) -> Tensor:
        """Logits [m, vocab_size] of ``context`` [m, 3d] against ``table`` [vocab_size, d]."""
        return self.proj(context) @ table.T  # type: ignore[no-any-return]

    @staticmethod
    def context(token_states: Tensor, event_states: Tensor, user_embedding: Tensor) -> Tensor:
        """c [m, 3d] of m tokens, each with its event's history state and its user's embedding."""
        return torch.cat([token_states, event_states, user_embedding], dim=-1)
