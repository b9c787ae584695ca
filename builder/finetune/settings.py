"""The settings of fine-tuning."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from builder.finetune.lora import LoraSettings
from builder.finetune.splits import SplitSettings
from builder.heads.head import Method
from pragmatiq_triton.errors import ConfigError


class FinetuneSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that fine-tuning can be told."""

    method: Method = "probe"
    """probe: a classifier on the frozen network; hybrid: beside features of the history; lora: adapters of its own."""
    classifier: Literal["auto", "logistic", "boosting"] = "auto"
    """Of a probe; auto takes the one with the smaller log loss for users not seen."""
    split: SplitSettings = field(default_factory=SplitSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    seed: Annotated[int, Meta(ge=0)] = 0

    def require_effect(self) -> None:
        """Raise :class:`ConfigError` for settings that ``method`` does not read."""
        if self.method != "lora" and self.lora != LoraSettings():
            raise ConfigError(f"lora: does nothing with method: {self.method}; leave it out, or choose method: lora")
        if self.method != "probe" and self.classifier != "auto":
            raise ConfigError(
                f"classifier: {self.classifier} does nothing with method: {self.method}, which has a classifier of its "
                "own; leave it out, or choose method: probe"
            )
