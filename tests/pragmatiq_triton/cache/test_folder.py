import os

import pytest

from pragmatiq_triton.cache.folder import CACHE_FOLDER_VARIABLE, cache_folder
from pragmatiq_triton.errors import ConfigError


def test_the_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_FOLDER_VARIABLE, str(tmp_path / "a" / "b"))
    assert cache_folder() == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


def test_without_the_variable_there_is_none(monkeypatch):
    monkeypatch.delenv(CACHE_FOLDER_VARIABLE, raising=False)
    assert cache_folder() is None
    monkeypatch.setenv(CACHE_FOLDER_VARIABLE, "")
    assert cache_folder() is None


def test_what_cannot_be_a_folder_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv(CACHE_FOLDER_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=f"{CACHE_FOLDER_VARIABLE}: .*file"):
        cache_folder()


def test_a_folder_of_another_account_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv(CACHE_FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=f"{CACHE_FOLDER_VARIABLE}: expected a folder that this account can read"):
        cache_folder()
