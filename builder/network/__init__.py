"""The PRAGMA network in torch: packed, unpadded, with upstream's parameter names."""

from builder.network.config import SIZES, NetworkConfig
from builder.network.head import MaskedValueHead
from builder.network.inputs import BatchTensors, Packing, to_tensors
from builder.network.model import Encoded, PragmaNetwork

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
