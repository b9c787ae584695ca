from pathlib import Path

import pytest

from pragmatiq_builder.training import PretrainSettings, load_settings
from pragmatiq_triton.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pretrain.yaml"


def test_overrides_stand_over_the_file_and_the_file_over_defaults(file: Path) -> None:
    file.write_text("model_size: nano\nmax_steps: 7\n", encoding="utf-8")
    settings = load_settings(file, {"max_steps": 9})
    assert (settings.model_size, settings.max_steps) == ("nano", 9)
    assert settings.token_budget == PretrainSettings().token_budget


def test_an_empty_file_gives_the_defaults(file: Path) -> None:
    file.write_text("# nothing\n", encoding="utf-8")
    assert load_settings(file) == load_settings() == PretrainSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: 0.1", r"pretrain.yaml: there is no setting lr; choose from model_size, .*lr_muon"),
        ("max_steps: 0", r"pretrain.yaml: .*>= 1.*max_steps"),
        ("dropout: 1.0", r"< 1.*dropout"),
        ("model_size: huge", r"'huge'.*model_size"),
        ("- a\n- b", r"expected a mapping of settings, got a list"),
        ("a: [", r"pretrain.yaml: cannot be read as YAML"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(file: Path, text: str, message: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_settings(file)


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"pretrain.yaml: cannot be read"):
        load_settings(file)
