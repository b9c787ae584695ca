"""The settings of pre-training, and how they are read from YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from pragmatiq_builder import settings
from pragmatiq_builder.objective import Masking

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]


class PretrainSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that pre-training can be told; rates are per optimizer step, budgets in event tokens."""

    model_size: Literal["nano", "small", "medium", "large"] = "small"
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    max_steps: Count = 2000
    token_budget: Count = 16_384
    """Event tokens of one batch; a user over it is a batch of its own."""
    accumulate: Count = 1
    """Batches per optimizer step."""
    lr_muon: Positive = 0.005
    """Peak rate of the encoders' matrices."""
    lr_adamw: Positive = 0.002
    """Peak rate of everything else: token table, norms, biases, calendar, heads."""
    warmup_steps: Annotated[int, Meta(ge=0)] = 100
    """Steps of linear warm-up; a cosine leads from there to 0 at ``max_steps``."""
    weight_decay: NotNegative = 0.01
    """Of matrices; the token table, norms and biases have none."""
    grad_clip: Positive = 1.0
    p_token: Probability = 0.15
    p_event: Probability = 0.10
    p_key: Probability = 0.10
    p_unk: Probability = 0.10
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    text_loss_weight: NotNegative = 1.0
    held_out: Annotated[float, Meta(ge=0, lt=1)] = 0.02
    """Share of the users kept for validation."""
    seed: Annotated[int, Meta(ge=0)] = 0
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """auto: bf16-mixed where the processor or GPU has bfloat16 units, else 32-true."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    max_skipped: Count = 20
    """Steps in a row that a non-finite loss or gradient may cost before training gives up."""
    log_every: Count = 10
    validate_every: Count = 500
    checkpoint_every: Count = 200

    @property
    def masking(self) -> Masking:
        return Masking(self.p_token, self.p_event, self.p_key, self.p_unk)


# May differ between a run and its resumption: they change what is told and kept, not what is learnt.
OPERATIONAL = frozenset({"accelerator", "max_skipped", "log_every", "validate_every", "checkpoint_every"})


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> PretrainSettings:
    """The settings of pre-training in the YAML file ``path``, with ``overrides`` on top; :class:`ConfigError`."""
    return settings.load_settings(PretrainSettings, path, overrides or {})
