"""The file of API keys: hashes alone, readable by its owner alone, and refused where it is not one."""

import pytest

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.auth import files
from pragmatiq_triton.gateway.auth.api_keys import add_key, hash_of, read_keys
from pragmatiq_triton.gateway.auth.files import Reread


def test_of_a_key_the_file_holds_its_hash_alone(tmp_path):
    file = tmp_path / "keys.yaml"
    first = add_key(file, "a")
    second = add_key(file, "b.c-d_9")
    assert read_keys(file) == {hash_of(first): "a", hash_of(second): "b.c-d_9"}
    assert first not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="a has a key already: say --replace"):
        add_key(file, "a")
    third = add_key(file, "a", replace=True)
    assert read_keys(file) == {hash_of(third): "a", hash_of(second): "b.c-d_9"}
    for name in ("", "a b", "ä", "../x", "x" * 65):
        with pytest.raises(ConfigError, match="expected a name"):
            add_key(file, name)


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    real = tmp_path / "real.yaml"
    add_key(real, "a")
    link = tmp_path / "keys.yaml"
    link.symlink_to(real)
    add_key(link, "b")
    assert link.is_symlink()
    assert sorted(read_keys(real).values()) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a\n", "expected `name: hash` lines"),
        ("a: 3\n", "a: expected 64 hexadecimal digits"),
        (f"a: {'f' * 64}\nb: {'f' * 64}\n", "b and a have the same key"),
        ("a: [", "API keys cannot be read"),
        ("1: x\n", "1: expected a name"),
        (f"a: {'e' * 64}\na: {'f' * 64}\n", r"keys\.yaml: API keys cannot be read as YAML: 'a' is there twice.*line 1"),
    ],
)
def test_a_file_of_keys_that_is_none_is_refused_with_the_reason(tmp_path, content, problem):
    file = tmp_path / "keys.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=problem):
        read_keys(file)


def test_what_could_not_be_read_for_a_moment_is_read_without_another_change(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "_LOOK_SECONDS", 0.0)
    file = tmp_path / "keys"
    file.write_text("one")
    refused = []

    def read():
        if refused:
            raise PermissionError(refused[0])
        return file.read_text()

    latest = Reread(read, file)
    file.write_text("another")
    refused.append("not yet")
    assert [latest(), latest(), latest()] == ["one"] * 3
    assert caplog.text.count("what was read before stays") == 1
    refused.clear()
    assert latest() == "another"
