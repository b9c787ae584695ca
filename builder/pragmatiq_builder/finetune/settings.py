"""The settings of fine-tuning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from pragmatiq_builder.finetune.lora import LoraSettings
from pragmatiq_builder.finetune.splits import SplitSettings
from pragmatiq_builder.head_methods import METHODS, MethodName, methods_that
from pragmatiq_builder.settings import load_settings, read_settings
from pragmatiq_triton.errors import ConfigError


class FinetuneSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that fine-tuning can be told."""

    method: MethodName = "probe"
    """How the head is fitted (:data:`~pragmatiq_builder.head_methods.METHODS`)."""
    classifier: Literal["auto", "logistic", "boosting"] = "auto"
    """Of a probe; auto takes the one with the smaller log loss for users not seen."""
    split: SplitSettings = field(default_factory=SplitSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    seed: Annotated[int, Meta(ge=0)] = 0

    def require_reads(self, features_file: Path | None) -> None:
        """Raise :class:`ConfigError` for features of the bank's own that ``method`` does not read."""
        if features_file and not METHODS[self.method].reads_features:
            readers = " or ".join(name for name, method in METHODS.items() if method.reads_features)
            raise ConfigError(
                f"--features: features of your own do nothing with method: {self.method}; choose method: {readers}"
            )

    def require_effect(self) -> None:
        """Raise :class:`ConfigError` for settings that ``method`` does not read."""
        defaults = FinetuneSettings()
        for name in {name for method in METHODS.values() for name in method.settings}:
            if name not in METHODS[self.method].settings and getattr(self, name) != getattr(defaults, name):
                raise ConfigError(
                    f"{name}: does nothing with method: {self.method}; leave it out, or choose method: "
                    f"{methods_that(name)}"
                )


def finetune_settings(
    config: Path | Mapping[str, Any] | None,
    method: str | None,
    test_from: str | None,
    calibration_from: str | None,
    unseen_users: bool,
) -> FinetuneSettings:
    """The settings in ``config``, a YAML file or the settings themselves, with what was given beside it on top.

    Raises :class:`ConfigError` for settings that do not exist or do nothing.
    """
    path, said = (None, dict(config)) if isinstance(config, Mapping) else (config, read_settings(config))
    split = {"test_from": test_from, "calibration_from": calibration_from, "unseen_users": unseen_users or None}
    split = {name: value for name, value in split.items() if value is not None}
    if split and isinstance(said.get("split", {}), Mapping):
        said["split"] = {**said.get("split", {}), **split}
    if method:
        said["method"] = method
    settings = load_settings(FinetuneSettings, path, said)
    settings.require_effect()
    return settings


def require_alone(option: str, others: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigError` where something is given beside ``option``, which takes all from the head."""
    if given := [name for name, value in others.items() if value]:
        raise ConfigError(
            f"{option} fits the head again as it was, so {', '.join(given)} would do nothing; leave it out, or "
            f"fine-tune anew without {option}"
        )
