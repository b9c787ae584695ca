"""The PRAGMA network (arXiv 2604.08649): tokens to events, events to a history, and the user at its head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pragmatiq_builder.network.config import NetworkConfig
from pragmatiq_builder.network.inputs import BatchTensors, Packing
from pragmatiq_builder.network.layers import Calendar, Encoder, TokenEmbedding, rotary
from pragmatiq_triton.tokenizer.vocabulary import EVT, USR


class Encoded(NamedTuple):
    """``token_states`` [T, d], ``event_states`` [E, d] (history states), ``user_embedding`` [U, d], in batch order."""

    token_states: Tensor
    event_states: Tensor
    user_embedding: Tensor


class TokenVectors(NamedTuple):
    """``events`` [T, d] and ``profiles`` [P, d]: embedded tokens; ``evt`` and ``usr`` [1, d]: the two special ones."""

    events: Tensor
    profiles: Tensor
    evt: Tensor
    usr: Tensor


class PragmaNetwork(nn.Module):
    """Event, profile and history encoders over one token table; parameter names are upstream's."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        shape = (config.dim, config.n_heads)
        self.embed = TokenEmbedding(config.vocab_size, config.dim, config.max_position)
        self.calendar = Calendar(config.dim)
        self.event_encoder = Encoder(*shape, config.depth_event, config.dropout)
        self.profile_encoder = Encoder(*shape, config.depth_profile, config.dropout)
        self.history_encoder = Encoder(*shape, config.depth_history, config.dropout)
        self.text_proj = nn.Linear(config.text_dim, config.dim) if config.text_dim else None
        self.apply(_initialize)

    def forward(self, batch: BatchTensors) -> Encoded:
        """Encode every user of ``batch``; users without events or profile are legal."""
        tokens = self.embed_tokens(batch)
        event_vectors, token_states = self.encode_events(tokens, batch.events)
        profile_vectors = self.encode_profiles(tokens, batch.profiles, batch.profile_times)
        user_embedding, event_states = self.encode_histories(
            profile_vectors, event_vectors + self.calendar(batch.calendar), batch.histories, batch.event_times
        )
        return Encoded(token_states, event_states, user_embedding)

    def embed_tokens(self, batch: BatchTensors) -> TokenVectors:
        """What the event and the profile encoder read of ``batch``."""
        tokens, special = self.embed(
            torch.cat([batch.key_ids, batch.profile_key_ids]),
            torch.cat([batch.value_ids, batch.profile_value_ids]),
            torch.cat([batch.positions, batch.profile_positions]),
            torch.tensor([EVT, USR], device=batch.key_ids.device),
        )
        event_tokens, profile_tokens = tokens.split([len(batch.key_ids), len(batch.profile_key_ids)])
        if self.text_proj is not None:
            text = self.text_proj(batch.text_vectors).index_select(0, batch.text_index)
            event_tokens = event_tokens.index_add(0, batch.text_tokens, text.to(event_tokens.dtype))
        return TokenVectors(event_tokens, profile_tokens, special[:1], special[1:])

    def encode_events(self, tokens: TokenVectors, packing: Packing) -> tuple[Tensor, Tensor]:
        """The events' vectors [E, d] before the calendar term, and the states [T, d] of their tokens."""
        heads = tokens.evt.expand(_n_sequences(packing), -1)
        return self._encode(self.event_encoder, heads, tokens.events, packing)

    def encode_profiles(self, tokens: TokenVectors, packing: Packing, times: Tensor) -> Tensor:
        """The users' profile vectors [U, d]; ``times`` float32 [P] in log-seconds."""
        heads = tokens.usr.expand(_n_sequences(packing), -1)
        return self._encode(self.profile_encoder, heads, tokens.profiles, packing, times)[0]

    def encode_histories(
        self, profile_vectors: Tensor, event_vectors: Tensor, packing: Packing, times: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The user embeddings [U, d] and the history states [E, d] of the events.

        ``event_vectors`` [E, d] have their calendar term; ``times`` float32 [E] in log-seconds.
        """
        return self._encode(self.history_encoder, profile_vectors, event_vectors, packing, times)

    def _encode(
        self, encoder: Encoder, heads: Tensor, items: Tensor, packing: Packing, times: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run ``encoder`` on heads [S, d] (at time 0) and items [n, d]; both come back in their own order."""
        rotation = None
        if times is not None:
            packed_times = torch.cat([times.new_zeros(len(heads)), times]).index_select(0, packing.gather)
            rotation = rotary(packed_times, self.config.head_dim, self.config.rope_base)
        packed = torch.cat([heads, items]).index_select(0, packing.gather)
        states = encoder(packed, packing.groups, rotation).index_select(0, packing.restore)
        head_states, item_states = states.split([len(heads), len(items)])
        return head_states, item_states


def _n_sequences(packing: Packing) -> int:
    return sum(n for n, _ in packing.groups)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
