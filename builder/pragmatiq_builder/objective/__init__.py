"""Masked-value prediction: what is hidden from the network, and what it pays for not finding it."""

from pragmatiq_builder.objective.loss import Losses, Targets, masked_value_loss
from pragmatiq_builder.objective.masking import Masked, Masking, mask_values

__all__ = ["Losses", "Masked", "Masking", "Targets", "mask_values", "masked_value_loss"]
