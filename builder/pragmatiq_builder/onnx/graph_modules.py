"""The network's encoders as torch modules that export to the operators ONNX Runtime's CPU kernels run fastest.

The arithmetic is :class:`~pragmatiq_builder.network.PragmaNetwork`'s, the layout is not: all sequences of a call have
one length, so nothing is padded or masked; the residual stream is flat, [sequences * slots, dim], so that every
residual addition is the third input of a ``Gemm`` and none stands in front of a LayerNorm (ONNX Runtime would fuse the
two into ``SkipLayerNormalization``, which is slow on CPU); and as few slots of an encoder are read (slot 0, and of a
history the last event's), its last block computes the others no further than their keys and values.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pragmatiq_builder.network import NetworkConfig, PragmaNetwork
from pragmatiq_builder.network.layers import Block, Encoder, TokenEmbedding
from pragmatiq_triton.batch import Token
from pragmatiq_triton.tokenizer.vocabulary import EVT, USR

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]
Rotation = tuple[Tensor, Tensor]
Select = Callable[[Tensor], Tensor]
"""Takes the slots that are read out of [n, S, ...]."""


class EventEncoderGraph(nn.Module):
    """Events of one token count -> their vectors, before the calendar term."""

    def __init__(self, network: PragmaNetwork) -> None:
        super().__init__()
        self.tokens = _Tokens(network.embed, EVT)
        self.encoder = _Encoder(network.event_encoder, network.config.n_heads, _attention, _head)

    def forward(self, tokens: Tensor, projected_texts: Tensor | None = None) -> Tensor:
        """``tokens`` int32 [n, L, 3], or [n, L, 4] with ``projected_texts`` [m + 1, d] -> [n, d]."""
        return cast(Tensor, self.encoder(self.tokens(tokens, projected_texts)))


class TextProjectionGraph(nn.Module):
    """Frozen text vectors -> the token space, and a last row of zeros that index -1 (no text) reaches."""

    def __init__(self, projection: nn.Linear) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, text_vectors: Tensor) -> Tensor:
        """[m, text_dim] -> [m + 1, d]."""
        return F.pad(self.projection(text_vectors), (0, 0, 0, 1))


class ProfileEncoderGraph(nn.Module):
    """Profiles of one token count -> their vectors."""

    def __init__(self, network: PragmaNetwork) -> None:
        super().__init__()
        self.tokens = _Tokens(network.embed, USR)
        self.rotary = _Rotary(network.config)
        self.encoder = _Encoder(network.profile_encoder, network.config.n_heads, _attention, _head)

    def forward(self, tokens: Tensor, log_seconds: Tensor) -> Tensor:
        """``tokens`` int32 [n, P, 3], ``log_seconds`` [n, P] -> [n, d]."""
        return cast(Tensor, self.encoder(self.tokens(tokens), self.rotary(log_seconds)))


class HistoryEncoderGraph(nn.Module):
    """One user's profile vector and event vectors -> the user embedding and the last event's history state."""

    def __init__(self, network: PragmaNetwork) -> None:
        super().__init__()
        self.calendar = network.calendar
        self.rotary = _Rotary(network.config)
        self.encoder = _Encoder(network.history_encoder, network.config.n_heads, _flash_attention, _head_and_last)

    def forward(
        self, profile_vector: Tensor, event_vectors: Tensor, calendar: Tensor, log_seconds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """[1, d], [E, d], [E, 3] (hour, day of week, day of month), [E] -> [1, d] each; the same without an event."""
        history = torch.cat([profile_vector, event_vectors + self.calendar(calendar)])
        states = self.encoder(history[None], self.rotary(log_seconds[None]))
        return states[:1], states[1:]


class _Tokens(nn.Module):
    def __init__(self, embedding: TokenEmbedding, head: int) -> None:
        super().__init__()
        self.token_embedding = embedding.embed.weight
        self.head = _constant(embedding.embed.weight[head].view(1, 1, -1))
        self.sinusoid = _constant(embedding.sinusoid)

    def forward(self, tokens: Tensor, projected_texts: Tensor | None = None) -> Tensor:
        """[n, L, 3 or 4] -> [n, 1 + L, d], the head's slot in front."""
        positions = tokens[..., Token.POSITION].clamp(max=self.sinusoid.shape[0] - 1)
        x = F.embedding(tokens[..., Token.KEY], self.token_embedding)
        x = x + F.embedding(tokens[..., Token.VALUE], self.token_embedding) + F.embedding(positions, self.sinusoid)
        if projected_texts is not None:
            x = x + F.embedding(tokens[..., Token.TEXT], projected_texts)
        return torch.cat([self.head.expand(x.shape[0], 1, -1), x], dim=1)


class _Rotary(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        j = torch.arange(0, config.head_dim, 2, dtype=torch.float32)
        self.inv_freq = _constant(config.rope_base ** (-j / config.head_dim))

    def forward(self, log_seconds: Tensor) -> Rotation:
        """Times [n, S - 1] of all slots but the head's, whose time is 0 -> cosine and sine [n, S, head_dim / 2]."""
        angles = F.pad(log_seconds, (1, 0))[..., None] * self.inv_freq
        return angles.cos(), angles.sin()


class _Encoder(nn.Module):
    def __init__(self, encoder: Encoder, n_heads: int, attend: Attend, read: Select) -> None:
        super().__init__()
        self.read = read
        self.blocks = nn.ModuleList(_Block(cast(Block, block), n_heads, attend) for block in encoder.blocks)
        self.norm = encoder.norm

    def forward(self, sequences: Tensor, rotation: Rotation | None = None) -> Tensor:
        """[n, S, d] -> [n * slots, d], the states of the slots that are read."""
        n, _, dim = sequences.shape
        x = sequences.reshape(-1, dim)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            x = block(x, n, self.read if i == last else None, rotation)
        return cast(Tensor, self.norm(x))


class _Block(nn.Module):
    def __init__(self, block: Block, n_heads: int, attend: Attend) -> None:
        super().__init__()
        self.n_heads, self.attend = n_heads, attend
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.query, self.key, self.value = (_constant(w.T) for w in block.attn.qkv.weight.chunk(3))
        self.out = _constant(block.attn.out.weight.T)
        up, down = cast(Sequence[nn.Linear], (block.ffn.net[0], block.ffn.net[3]))
        self.up, self.up_bias = _constant(up.weight.T), up.bias
        self.down, self.down_bias = _constant(down.weight.T), down.bias

    def forward(self, x: Tensor, n: int, read: Select | None, rotation: Rotation | None) -> Tensor:
        """[n * S, d] -> [n * slots, d]: the next states of the slots that are read, all of them for None."""
        dim = x.shape[-1]

        def queried(states: Tensor) -> Tensor:
            return states if read is None else read(states.view(n, -1, dim)).reshape(-1, dim)

        normed = self.norm1(x)
        query = (queried(normed) @ self.query).view(n, -1, dim)
        key, value = (normed @ self.key).view(n, -1, dim), (normed @ self.value).view(n, -1, dim)
        if rotation is not None:
            query = self._rotate(query, *(angles if read is None else read(angles) for angles in rotation))
            key = self._rotate(key, *rotation)
        mixed = self.attend(query, key, value, self.n_heads).reshape(-1, dim)
        x = torch.addmm(queried(x), mixed, self.out)
        hidden = F.gelu(torch.addmm(self.up_bias, self.norm2(x), self.up))
        return torch.addmm(x + self.down_bias, hidden, self.down)

    def _rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return torch.onnx.ops.rotary_embedding(x, cos, sin, num_heads=self.n_heads)


def _head(slots: Tensor) -> Tensor:
    return slots[:, :1]


def _head_and_last(slots: Tensor) -> Tensor:
    return torch.cat([slots[:, :1], slots[:, -1:]], dim=1)


def _attention(query: Tensor, key: Tensor, value: Tensor, n_heads: int) -> Tensor:
    return torch.onnx.ops.attention(query, key, value, q_num_heads=n_heads, kv_num_heads=n_heads)[0]


def _flash_attention(query: Tensor, key: Tensor, value: Tensor, n_heads: int) -> Tensor:
    """The one operator for which ONNX Runtime never holds the [S, S] scores of a long history."""
    return torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (query, key, value),
        {"num_heads": n_heads},
        dtype=query.dtype,
        shape=query.shape,
        version=1,
    )


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(memory_format=torch.contiguous_format), requires_grad=False)
