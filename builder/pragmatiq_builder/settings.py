"""Reading the YAML files that commands take settings from."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.yaml_files import read_yaml

Settings = TypeVar("Settings", bound=msgspec.Struct)


def load_settings(kind: type[Settings], path: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """The settings in the YAML file ``path`` (defaults where it says nothing), with ``overrides`` on top.

    Raises :class:`ConfigError` for an unknown key, naming the known ones, and for a value that does not fit.
    """
    source = str(path) if path else "settings"
    values = {**read_settings(path), **overrides}
    if unknown := [str(key) for key in values if key not in kind.__struct_fields__]:
        known = ", ".join(kind.__struct_fields__)
        raise ConfigError(f"{source}: there is no setting {', '.join(unknown)}; choose from {known}")
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        is_bare_word = "str" in str(error) and "got `bool`" in str(error)
        hint = (
            '; YAML takes yes, no, on, off, true and false for booleans: write "yes" in quotes' if is_bare_word else ""
        )
        raise ConfigError(f"{source}: {error}{hint}") from error


def read_settings(path: Path | None) -> dict[str, Any]:
    """The settings in a YAML file, none without a file; :class:`ConfigError` where it is not a mapping."""
    if path is None:
        return {}
    settings = read_yaml(path) or {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got a {type(settings).__name__}")
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{path}: {name}: expected a finite number, got {value}")
    return settings
