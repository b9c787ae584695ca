"""What of a model's ``config.pbtxt`` belongs to the model, and what is an operator's to choose.

Reads protobuf's text format as far as configs use it, so that a server needs no protobuf package to verify them.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

FIXED_PARAMETERS = ("tasks", "features", "own_features", "event_vectors")
"""Parameters that say what the model is; all others that export writes are the operator's."""

ADDED_PARAMETERS = ("earliest_time", "latest_time")
"""Parameters of the tokenizer that export does not write, since the data it was fitted on say them."""
OF_TOKENIZER = "max_record_bytes"
"""A parameter that the tokenizer alone has."""

INSTANCES = "instances"
"""Under which name the count of instances is told among an operator's settings."""

_MAPS = ("parameters", "input_map", "output_map")
_TOKEN = re.compile(r"""\s+|\#[^\n]*|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<sign>[{}<>\[\]:,;])|
    (?P<word>[^\s{}<>\[\]:,;"'\#]+)""", re.VERBOSE)  # fmt: skip


class ConfigFacts(msgspec.Struct, frozen=True):
    """Of one config: the ``settings`` that an operator may change, and the SHA-256 of all else that it says."""

    fixed: str
    settings: dict[str, str]


def config_facts(text: str) -> ConfigFacts:
    """The facts of a config's text, whatever its layout, comments and order of fields.

    Raises :class:`ValueError` where it is no text format.
    """
    config = _message(_tokens(text), end="")
    settings: dict[str, str] = {}
    kept = []
    for parameter in config.get("parameters", []):
        key, value = _entry(parameter)
        if key in FIXED_PARAMETERS:
            kept.append(parameter)
        else:
            settings[key] = value
    config["parameters"] = kept
    groups = config.get("instance_group", [])
    if groups:
        settings[INSTANCES] = ", ".join(str(group.pop("count", ["1"])[0]) for group in groups)
    canonical = json.dumps(_sorted_maps(config), sort_keys=True, ensure_ascii=False)
    return ConfigFacts(hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest(), settings)


def config_parameters(text: str) -> dict[str, str]:
    """A config's parameters by name, those of the model included, each as it is written between its quotes.

    Raises :class:`ValueError` where it is no text format.
    """
    return dict(map(_entry, _message(_tokens(text), end="").get("parameters", [])))


def _entry(parameter: dict[str, list[Any]]) -> tuple[str, str]:
    """Name and value of one parameter."""
    return parameter.get("key", [""])[0], str(parameter.get("value", [{}])[0].get("string_value", [""])[0])


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            raise ValueError(
                f"line {text.count(chr(10), 0, place) + 1}: no text format at {text[place : place + 20]!r}"
            )
        place = match.end()
        if match.lastgroup:
            yield match[0]


def _message(tokens: Iterator[str], end: str) -> dict[str, list[Any]]:
    """Fields by name, each with all its values, up to the sign ``end``; "" is the end of the text."""
    fields: dict[str, list[Any]] = {}
    for token in tokens:
        if token == end:
            return fields
        if token in ",;":
            continue
        fields.setdefault(token, []).extend(_values(tokens, next(tokens, "")))
    if end:
        raise ValueError(f"a {end} is missing at the end")
    return fields


def _values(tokens: Iterator[str], first: str) -> list[Any]:
    """The values that begin with the token ``first``: one, or those of a list."""
    if first == ":":
        first = next(tokens, "")
    if first in ("{", "<"):
        return [_message(tokens, "}" if first == "{" else ">")]
    if first == "[":
        values: list[Any] = []
        for token in tokens:
            if token == "]":
                return values
            if token != ",":
                values += _values(tokens, token)
        raise ValueError("a ] is missing at the end")
    if not first or first in "}>]:,;":
        raise ValueError(f"expected a value, got {first!r}")
    return [first[1:-1] if first[0] in "\"'" else first]


def _sorted_maps(value: Any) -> Any:
    """The same, with the entries of protobuf's maps in an order of their own."""
    if isinstance(value, list):
        return [_sorted_maps(each) for each in value]
    if not isinstance(value, dict):
        return value
    inside = {name: _sorted_maps(values) for name, values in value.items()}
    for name in _MAPS:
        if name in inside:
            inside[name] = sorted(inside[name], key=lambda entry: json.dumps(entry, sort_keys=True))
    return inside
