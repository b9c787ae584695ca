"""Reading the YAML files that commands take settings from."""

from pathlib import Path
from typing import Any

import yaml

from pragmatiq_triton.errors import ConfigError


def read_settings(path: Path | None) -> dict[str, Any]:
    """The settings in a YAML file, none without a file; :class:`ConfigError` where it is not a mapping."""
    if path is None:
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got a {type(settings).__name__}")
    return settings
