"""``import pragmatiq_triton as pt``: its names and signatures stay, it is light, and what is written about it runs."""

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pragmatiq_triton as pt
from pragmatiq_triton.errors import MissingDependencyError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CONTRACT = HERE / "contract.txt"


def signatures():
    """Every public name with its signature, a line each."""
    lines = []
    for name in sorted(pt.__all__):
        found = getattr(pt, name)
        if not inspect.isclass(found):
            lines.append(f"{name}{inspect.signature(found)}")
            continue
        for member, value in sorted(vars(found).items()):
            if not member.startswith("_"):
                shown = "" if isinstance(value, property) else inspect.signature(value)
                lines.append(f"{name}.{member}{shown}")
    return "\n".join(lines) + "\n"


def test_names_and_signatures_are_those_that_users_know():
    assert signatures() == CONTRACT.read_text(encoding="utf-8"), (
        "a change that breaks users; if it is meant, change contract.txt and tell in CHANGELOG.md"
    )


def test_the_package_is_light_until_it_is_asked():
    code = """
import sys, pragmatiq_triton as pt
heavy = {"pragmatiq_builder", "numpy", "onnxruntime", "pandas", "polars", "pyarrow", "torch", "transformers"}
heavy &= sys.modules.keys()
assert not heavy, heavy
assert "load" in dir(pt)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_score_needs_neither_a_training_package_nor_a_frame(api_repository):
    code = """
import sys, pragmatiq_triton as pt
pt.load(sys.argv[1], threads=1).score({"events": []})
unneeded = {"pandas", "polars", "pyarrow", "torch", "transformers", "tritonclient"} & sys.modules.keys()
assert not unneeded, unneeded
"""
    subprocess.run([sys.executable, "-c", code, api_repository], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        pt.scores  # noqa: B018


def test_without_the_builder_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(vars(pt), "load", raising=False)
    monkeypatch.setitem(sys.modules, "pragmatiq_builder", None)
    monkeypatch.delitem(sys.modules, "pragmatiq_builder.python_api", raising=False)
    with pytest.raises(MissingDependencyError, match="pip install pragmatiq-triton"):
        pt.load  # noqa: B018


@pytest.mark.parametrize("module", ["model", "data"])
def test_the_examples_run(module, api_repository, tmp_path):
    found = importlib.import_module(f"pragmatiq_builder.python_api.{module}")
    result = doctest.testmod(found, extraglobs={"repository": api_repository, "folder": tmp_path})
    assert result.attempted
    assert not result.failed


def test_a_users_file_is_typed_and_runs(api_repository, tmp_path):
    example = HERE / "users_example.py"
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", example]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    subprocess.run([sys.executable, example, api_repository, tmp_path], check=True)
