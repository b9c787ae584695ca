"""The PRAGMA network in torch: packed, unpadded, with upstream's parameter names."""

from pragmatiq_builder.network.config import SIZES, NetworkConfig
from pragmatiq_builder.network.head import MaskedValueHead
from pragmatiq_builder.network.inputs import BatchTensors, Packing, to_tensors
from pragmatiq_builder.network.model import Encoded, PragmaNetwork

__all__ = [
    "SIZES",
    "BatchTensors",
    "Encoded",
    "MaskedValueHead",
    "NetworkConfig",
    "Packing",
    "PragmaNetwork",
    "to_tensors",
]
