"""The table of methods is the one place that says what a method does."""

import subprocess
from pathlib import Path
from typing import get_args

import pytest

from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.head_methods import METHODS, MethodName

ROOT = Path(__file__).parents[2] / "builder"


def test_every_name_has_an_entry() -> None:
    assert set(METHODS) == set(get_args(MethodName))


def test_the_settings_of_a_method_exist() -> None:
    known = set(FinetuneSettings.__struct_fields__)
    assert all(set(method.settings) <= known for method in METHODS.values())


@pytest.mark.parametrize("name", METHODS)
def test_no_other_module_asks_for_a_method_by_its_name(name: str) -> None:
    pattern = rf"""method [!=]= ["']{name}["']"""
    command = ["grep", "-rnE", "--include=*.py", pattern, ROOT]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout == ""
