"""The layers of the network: rotary times, the pre-norm block, an encoder of blocks, and the two input embeddings."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pragmatiq_builder.network.dropout import Dropout

Groups = tuple[tuple[int, int], ...]


class Rotary(NamedTuple):
    """Cosine and sine of ``time * inv_freq``, float32 [N, 1, 1, head_dim] each, the halves repeated."""

    cos: Tensor
    sin: Tensor


def rotary(times: Tensor, head_dim: int, base: float) -> Rotary:
    """The rotation of rows at ``times`` float32 [N] (log-seconds); ``inv_freq_j = base ** (-2j / head_dim)``."""
    j = torch.arange(0, head_dim, 2, dtype=torch.float32, device=times.device)
    half = times.float()[:, None] * base ** (-j / head_dim)
    angles = torch.cat([half, half], dim=-1)[:, None, None]
    return Rotary(angles.cos(), angles.sin())


def rotate(x: Tensor, by: Rotary) -> Tensor:
    """Rotate ``x`` [N, ..., heads, head_dim] pairwise over its two halves."""
    first, second = x.chunk(2, dim=-1)
    return x * by.cos + torch.cat([-second, first], dim=-1) * by.sin


class Attention(nn.Module):
    """Bidirectional multi-head attention inside each packed sequence; no biases."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, groups: Groups, rotation: Rotary | None) -> Tensor:
        """``x`` [N, dim] packed as ``groups`` says -> [N, dim]."""
        qkv = self.qkv(x).unflatten(-1, (3, self.n_heads, -1))
        if rotation is not None:
            qkv = torch.cat([rotate(qkv[:, :2], rotation), qkv[:, 2:]], dim=1)
        if qkv.device.type == "cpu":
            qkv = qkv.float()
        attended = []
        # torch 2.13's attention backward on a CPU is ten times slower in bfloat16 than in float32.
        with torch.autocast("cpu", enabled=False):
            for rows, (n, length) in zip(qkv.split([n * length for n, length in groups]), groups, strict=True):
                q, k, v = rows.unflatten(0, (n, length)).permute(2, 0, 3, 1, 4)
                attended.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n * length, -1))
        return self.out(torch.cat(attended))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Linear to 4 x dim, exact GELU, back."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), Dropout(dropout), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = FeedForward(dim, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, groups: Groups, rotation: Rotary | None) -> Tensor:
        x = x + self.dropout(self.attn(self.norm1(x), groups, rotation))
        return x + self.ffn(self.norm2(x))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """A stack of blocks and a last LayerNorm."""

    def __init__(self, dim: int, n_heads: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, n_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, groups: Groups, rotation: Rotary | None = None) -> Tensor:
        """``x`` [N, dim], packed as ``groups`` says -> [N, dim]; no rows are legal."""
        if not groups:
            return x
        for block in self.blocks:
            x = block(x, groups, rotation)
        return self.norm(x)  # type: ignore[no-any-return]


class TokenEmbedding(nn.Module):
    """One table for keys, values and special tokens, and the sinusoid of the position inside a value."""

    sinusoid: Tensor

    def __init__(self, vocab_size: int, dim: int, max_position: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, dim)
        angles = torch.arange(max_position)[:, None] * torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000) / dim))
        self.register_buffer("sinusoid", torch.stack([angles.sin(), angles.cos()], -1).flatten(1), persistent=False)

    def forward(self, key_ids: Tensor, value_ids: Tensor, positions: Tensor, special_ids: Tensor) -> tuple[Tensor, ...]:
        """Tokens [n] -> [n, dim], and the bare vectors [s, dim] of ``special_ids`` [s].

        One look-up serves them all: each look-up would cost a gradient of the whole table.
        """
        n = len(key_ids)
        keys, values, special = self.embed(torch.cat([key_ids, value_ids, special_ids])).split([n, n, len(special_ids)])
        at = self.sinusoid.index_select(0, positions.clamp(max=len(self.sinusoid) - 1))
        return keys + values + at, special


class Calendar(nn.Module):
    """Hour, day of week and day of month on their circles, through a small MLP."""

    period: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(6, dim), nn.GELU(), nn.Linear(dim, dim))
        self.register_buffer("period", torch.tensor([24.0, 7.0, 31.0]), persistent=False)

    def forward(self, calendar: Tensor) -> Tensor:
        """``calendar`` float32 [E, 3] -> [E, dim]."""
        angles = calendar * (2 * math.pi / self.period)
        return self.mlp(torch.stack([angles.sin(), angles.cos()], -1).flatten(1))  # type: ignore[no-any-return]
