"""YAML that people write: a key given twice is refused wherever it stands, and what merges is none."""

import re

import pytest

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.yaml_files import read_yaml


@pytest.fixture
def file(tmp_path):
    return tmp_path / "settings.yaml"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' is there twice (before in line 1)"),
        ("a:\n- {b: 1, 'b': 2}\n", "'b' is there twice"),
        ("a: {b: {c: 1,\n c: 2}}", "'c' is there twice"),
        ("base: &base {x: 1}\nbase: 2", "'base' is there twice"),
        ("a: &a {<<: {x: 1}, y: 2, y: 3}\nb: *a", "'y' is there twice"),
    ],
)
def test_a_key_given_twice_is_refused_with_its_place(file, content, problem):
    file.write_text(content)
    with pytest.raises(ConfigError, match=rf"{re.escape(f'{file}: keys cannot be read as YAML: {problem}')}.*line \d"):
        read_yaml(file, "keys")


def test_a_key_of_a_merged_mapping_may_be_laid_over(file):
    file.write_text("base: &base {x: 1, y: 1}\na: {b: {<<: *base, x: 2}}\n")
    assert read_yaml(file) == {"base": {"x": 1, "y": 1}, "a": {"b": {"x": 2, "y": 1}}}


def test_what_is_not_there_and_what_is_no_text_are_one_line(file):
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(file))}: cannot be read as YAML: No such file"):
        read_yaml(file)
    for content in (b"\xff", b"\x00", b"[" * 5000, b"? [1]\n: 2"):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="cannot be read as YAML: ") as raised:
            read_yaml(file)
        assert "\n" not in str(raised.value)
