"""The settings of fine-tuning."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from builder.finetune.lora import LoraSettings
from builder.finetune.splits import SplitSettings
from builder.heads.head import Method


class FinetuneSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that fine-tuning can be told."""

    method: Method = "probe"
    """probe: a classifier on the frozen network; hybrid: beside features of the history; lora: adapters of its own."""
    classifier: Literal["auto", "logistic", "boosting"] = "auto"
    """Of a probe; auto takes the one with the smaller log loss for users not seen."""
    split: SplitSettings = field(default_factory=SplitSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    seed: Annotated[int, Meta(ge=0)] = 0
