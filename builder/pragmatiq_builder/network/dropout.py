"""Dropout that costs a byte of randomness per element.

On a CPU torch draws a number per element from one thread: a quarter of a training step. On any other device its own
kernel is used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zeroes elements with probability ``p`` (on a CPU: to the nearest 1/256) and scales up the others, in training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        n_dropped = round(self.p * 256)
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= n_dropped
        return x * kept.to(x.dtype).mul_(256 / (256 - n_dropped))
