"""What of a config is an operator's, whatever its layout."""

import re
from pathlib import Path

import pytest

from pragmatiq_triton.model_config import FIXED_PARAMETERS, INSTANCES, config_facts, config_parameters

ROOT = Path(__file__).parents[2]
WRITTEN = """name: "scorer"
max_batch_size: 64
input {
  name: "tokens"
  data_type: TYPE_INT32
  dims: -1
  dims: 4
}
output {
  name: "scores"
  dims: 2
}
instance_group {
  count: 1
  kind: KIND_CPU
}
parameters {
  key: "tasks"
  value {
    string_value: "[\\"a\\", \\"b\\"]"
  }
}
parameters {
  key: "threads"
  value {
    string_value: "0"
  }
}
"""
BY_HAND = """# Two threads.
parameters: { key: 'threads', value: { string_value: "0" } }  # all
max_batch_size: 64 name: "scorer"
input [ { name: "tokens"; data_type: TYPE_INT32; dims: [ -1, 4 ] } ]
parameters < key: "tasks" value < string_value: "[\\"a\\", \\"b\\"]" > >
output [{name: "scores" dims: [2]}]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


def test_layout_comments_and_order_are_no_difference() -> None:
    assert config_facts(WRITTEN) == config_facts(BY_HAND)
    assert config_facts(WRITTEN).settings == {"threads": "0", INSTANCES: "1"}


def test_parameters_are_read_whoever_may_change_them() -> None:
    assert config_parameters(WRITTEN) == config_parameters(BY_HAND) == {"tasks": r"[\"a\", \"b\"]", "threads": "0"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('string_value: "0"', 'string_value: "2"', ["threads 0 -> 2"]),
        ("count: 1", "count: 3", ["instances 1 -> 3"]),
        ("count: 1", "", []),
        ("dims: 2", "dims: 3", None),
        ("max_batch_size: 64", "max_batch_size: 65", None),
        ('[\\"a\\", \\"b\\"]', '[\\"b\\", \\"a\\"]', None),
        ("dims: -1\n  dims: 4", "dims: 4\n  dims: -1", None),
        ("KIND_CPU", "KIND_GPU", None),
    ],
)
def test_what_is_an_operators_is_in_the_settings_and_anything_else_in_the_hash(
    old: str, new: str, told: list[str] | None
) -> None:
    assert old in WRITTEN
    was, found = config_facts(WRITTEN), config_facts(WRITTEN.replace(old, new))
    assert (found.fixed == was.fixed) is (told is not None)
    if told is not None:
        changes = [f"{name} {value} -> {found.settings[name]}" for name, value in was.settings.items()
                   if found.settings[name] != value]  # fmt: skip
        assert changes == told


@pytest.mark.parametrize("text", ["{", "name", 'name: "a', "a { b: 1", "a: [1, 2", "a: }"])
def test_what_is_no_text_format_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a value|is missing|no text format"):
        config_facts(text)


def test_every_setting_of_the_templates_is_in_the_documented_table() -> None:
    table = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| (\w+), `(\w+)` \|", table, re.MULTILINE))
    for path in (ROOT / "model_repository").glob("*/config.pbtxt"):
        settings = set(config_facts(path.read_text(encoding="utf-8")).settings) - {INSTANCES}
        assert {(path.parent.name, name) for name in settings} <= documented
        assert not settings & set(FIXED_PARAMETERS)
