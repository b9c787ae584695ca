from pathlib import Path

import pytest

from pragmatiq_builder import shared_folders
from pragmatiq_builder.settings import read_settings
from pragmatiq_builder.shipped_configs import config_file, shipped_configs
from pragmatiq_triton.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("topic", ["data", "train"])
def test_every_config_of_the_checkout_has_a_name_and_can_be_read(topic):
    found = shipped_configs(topic)
    assert sorted(found.values()) == sorted((CONFIGS / topic).glob("*.yaml"))
    assert all(read_settings(path) for path in found.values())


def test_a_name_is_that_of_the_file_without_tokenizer():
    assert config_file("hash", "data") == CONFIGS / "data" / "tokenizer_hash.yaml"
    assert config_file("nano", "train") == CONFIGS / "train" / "nano.yaml"


def test_an_installed_wheel_carries_them(tmp_path, monkeypatch):
    shared = tmp_path / "_share" / "configs" / "data" / "tokenizer_own.yaml"
    shared.parent.mkdir(parents=True)
    shared.write_text("text_value_mode: bpe\n", encoding="utf-8")
    monkeypatch.setattr(shared_folders.resources, "files", lambda package: tmp_path)
    assert shipped_configs("data") == {"own": shared}


def test_a_path_still_works_and_dot_slash_is_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("hash").write_text("{}", encoding="utf-8")
    assert config_file("./hash", "data") == Path("hash")
    assert config_file("hash", "data") == CONFIGS / "data" / "tokenizer_hash.yaml"
    assert config_file("hash", None) == Path("hash")


@pytest.mark.parametrize(
    ("given", "topic", "message"),
    [
        ("hsh", "data", "--config hsh: there is no such file.*: bpe, hash, nemotron$"),
        ("hash", "train", "--config hash: .*: nano, tiny$"),
        ("hash", None, "--config hash: there is no such file; give the path of a YAML file$"),
        (".", "train", "is a folder.*nano, tiny$"),
    ],
)
def test_what_is_neither_is_told_the_choices(given, topic, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        config_file(given, topic)
