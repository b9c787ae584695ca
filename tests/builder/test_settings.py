from pathlib import Path

import msgspec
import pytest

from pragmatiq_builder.settings import load_settings, read_settings
from pragmatiq_triton.errors import ConfigError


class Wheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    spokes: int = 32


class Bicycle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    colour: str
    gears: int = 3
    wheel: Wheel = Wheel()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bicycle.yaml"


def test_options_stand_over_the_file_and_the_file_over_defaults(file: Path) -> None:
    file.write_text("colour: red\ngears: 7\nwheel: {spokes: 28}\n", encoding="utf-8")
    assert load_settings(Bicycle, file, {"gears": 9}) == Bicycle("red", 9, Wheel(28))
    assert load_settings(Bicycle, None, {"colour": "blue"}) == Bicycle("blue")


def test_an_empty_file_says_nothing(file: Path) -> None:
    file.write_text("# nothing\n", encoding="utf-8")
    assert read_settings(file) == read_settings(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gear: 3", r"bicycle.yaml: there is no setting gear; choose from colour, gears, wheel"),
        ("1: 3", r"bicycle.yaml: there is no setting 1; choose"),
        ("colour: red\nwheel: {spoke: 3}", r"bicycle.yaml: .*`spoke`.*wheel"),
        ("colour: red\ngears: many", r"bicycle.yaml: .*int.*str.*gears"),
        ("gears: 3", r"bicycle.yaml: .*colour"),
        ("gears: 3\ncolour: red\ngears: 7", r"bicycle.yaml: .*'gears' is there twice.*line 3"),
        ("colour: red\nwheel: {spokes: 1, spokes: 2}", r"'spokes' is there twice"),
        ("gears: .inf", r"bicycle.yaml: gears: expected a finite number, got inf"),
        ("gears: .nan", r"bicycle.yaml: gears: expected a finite number, got nan"),
        ("- a", r"bicycle.yaml: expected a mapping of settings, got a list"),
        ("a: [", r"bicycle.yaml: cannot be read as YAML"),
        ("\x00", r"bicycle.yaml: cannot be read as YAML"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(file: Path, text: str, message: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_settings(Bicycle, file, {})


def test_a_date_needs_no_quotation_marks(file: Path) -> None:
    file.write_text("colour: 2010-01-01\n", encoding="utf-8")
    assert read_settings(file) == {"colour": "2010-01-01"}


def test_an_option_that_does_not_fit_is_not_blamed_on_a_file() -> None:
    with pytest.raises(ConfigError, match=r"^settings: there is no setting gear; choose"):
        load_settings(Bicycle, None, {"gear": 1})


@pytest.mark.parametrize("content", [None, b"colour: \xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(file: Path, content: bytes | None) -> None:
    if content:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bicycle.yaml: cannot be read"):
        load_settings(Bicycle, file, {})
