"""Muon for the encoders' matrices, AdamW for the rest, and their common rate over time."""

import math
from typing import Protocol

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from pragmatiq_builder.training.settings import PretrainSettings


class Schedule(Protocol):
    """How many steps there are, and how many of them warm up."""

    @property
    def max_steps(self) -> int: ...

    @property
    def warmup_steps(self) -> int: ...


def make_optimizers(model: nn.Module, settings: PretrainSettings) -> tuple[Optimizer, Optimizer]:
    """Muon (Jordan et al. 2024, scaled to AdamW's update size) for matrices inside blocks; AdamW for all others."""
    hidden, decayed, others = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.ndim != 2 or ".embed." in name:
            others.append(parameter)
        elif ".blocks." in name:
            hidden.append(parameter)
        else:
            decayed.append(parameter)
    muon = Muon(hidden, settings.lr_muon, settings.weight_decay, adjust_lr_fn="match_rms_adamw")
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    adamw = AdamW(groups, settings.lr_adamw, betas=(0.9, 0.95), fused=True)
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return muon, adamw


def rate(step: int, schedule: Schedule) -> float:
    """Factor of the peak rates at ``step`` (from 1): linear warm-up, then a cosine down to 0 after ``max_steps``."""
    if step <= schedule.warmup_steps:
        return step / schedule.warmup_steps
    done = (step - schedule.warmup_steps - 1) / max(1, schedule.max_steps - schedule.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def set_rate(optimizers: tuple[Optimizer, Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
