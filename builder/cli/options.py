"""Options that several commands take."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from pragmatiq_triton.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="YAML with settings; an unknown one is an error.", exists=True, dir_okay=False),
]


def read_settings(path: Path | None) -> dict[str, Any]:
    """The YAML file as a mapping; :class:`ConfigError` where it is none."""
    if path is None:
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(settings).__name__}")
    return settings
