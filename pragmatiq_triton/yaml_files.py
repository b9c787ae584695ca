"""Reads the YAML files that people write: settings and keys."""

from pathlib import Path
from typing import Any

import yaml

from pragmatiq_triton.errors import ConfigError, printable


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and leaves a date the text that it is."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The mapping as it is written: later on keys of merged mappings (`<<`) stand among its own."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                problem = f"{printable(key.value)!r} is there twice (before in line {lines[key.value]})"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return node


def read_yaml(file: Path, what: str = "") -> Any:
    """What a YAML file holds; None where it holds nothing.

    Raises:
        ConfigError: it cannot be read, is no YAML, or has a key twice. ``what`` names it in the message ("API keys").
    """
    try:
        return yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        problem = error.strerror or str(error)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
    raise ConfigError(f"{file}: {what + ' ' if what else ''}cannot be read as YAML: {problem}") from None
