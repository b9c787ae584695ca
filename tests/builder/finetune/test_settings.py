import msgspec
import pytest

from pragmatiq_builder.finetune.lora import LoraSettings
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.finetune.splits import SplitSettings
from pragmatiq_triton.errors import ConfigError


def test_settings_come_back_from_a_heads_json() -> None:
    settings = FinetuneSettings(
        method="lora", split=SplitSettings(test_share=0.4), lora=LoraSettings(rank=3, validate_every=7), seed=5
    )
    stored = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(settings)))
    assert msgspec.convert(stored, FinetuneSettings) == settings


def test_what_is_not_said_has_a_default() -> None:
    settings = msgspec.convert({"lora": {"rank": 4}}, FinetuneSettings)
    assert settings == FinetuneSettings(lora=LoraSettings(rank=4))
    assert (settings.method, settings.classifier) == ("probe", "auto")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (FinetuneSettings(lora=LoraSettings(rank=4)), "lora: does nothing with method: probe"),
        (FinetuneSettings(method="hybrid", classifier="boosting"), "classifier: does nothing with method: hybrid"),
        (FinetuneSettings(method="lora", classifier="logistic"), "classifier: does nothing with method: lora"),
    ],
)
def test_a_setting_that_the_method_does_not_read_is_an_error(settings: FinetuneSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings.require_effect()


def test_settings_that_the_method_reads_are_fine() -> None:
    FinetuneSettings(classifier="boosting").require_effect()
    FinetuneSettings(method="lora", lora=LoraSettings(rank=4)).require_effect()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "full"}, r"'full'.*method"),
        ({"classifier": "forest"}, r"'forest'.*classifier"),
        ({"seed": -1}, r">= 0.*seed"),
        ({"lora": {"ranks": 4}}, r"unknown field `ranks`.*lora"),
        ({"split": {"test_share": 1.0}}, r"< 1.*split.test_share"),
        ({"split": {"test_share": 0.6, "calibration_share": 0.4}}, r"leave no user to train on.*split"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(values, FinetuneSettings)
