"""Where training runs, and in which precision."""

import logging
from typing import Literal, Protocol

import torch
from lightning_fabric import Fabric

# It announces the precision on every start; run.yaml says it.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


class DeviceSettings(Protocol):
    """The settings that say where to compute, and in which precision."""

    @property
    def accelerator(self) -> Literal["auto", "cpu", "cuda"]: ...

    @property
    def precision(self) -> Literal["auto", "32-true", "bf16-mixed"]: ...


def make_fabric(settings: DeviceSettings) -> Fabric:
    """Lightning Fabric on one CPU or GPU, in the settings' precision or in what ``auto`` finds."""
    fabric = Fabric(accelerator=settings.accelerator, devices=1)
    precision = settings.precision
    if precision == "auto":
        precision = "bf16-mixed" if has_bfloat16(fabric.device) else "32-true"
    return Fabric(accelerator=settings.accelerator, devices=1, precision=precision)


def has_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware; in software it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
