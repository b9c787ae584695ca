import shutil
import tomllib
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from pragmatiq_builder import doctor
from pragmatiq_builder.doctor import EXTRAS, examine, lacking, requirements, to_dict
from pragmatiq_triton.errors import ConfigError

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def of(name, checks):
    return next(check for check in checks if check.name == name)


def test_every_extra_of_the_project_is_looked_at():
    assert {*EXTRAS, "embedded"} == set(PROJECT["optional-dependencies"])


def test_an_extra_brings_those_that_it_names():
    names = {requirement.name for requirement in requirements("nemotron")}
    assert {"transformers", "torch", "pyarrow", "onnxruntime", "tritonclient"} <= names
    assert "docker" not in names


def test_a_checkout_is_held_against_its_pyproject_and_not_against_older_metadata(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: [])
    assert {"uvicorn", "starlette"} <= {requirement.name for requirement in requirements("gateway")}


class Installed(dict):
    def get_all(self, name):
        return self[name]


def test_an_installed_package_is_held_against_its_metadata(tmp_path, monkeypatch):
    lines = ["numpy>=1", 'pragmatiq-triton[serve]; extra == "train"', 'never-made>=3; extra == "serve"']
    monkeypatch.setattr(doctor, "PYPROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: lines)
    monkeypatch.setattr(doctor.metadata, "metadata", lambda _: Installed({"Provides-Extra": ["train", "serve"]}))
    assert [requirement.name for requirement in requirements("train")] == ["never-made"]
    checks = examine(["train", "gateway"])
    assert of("extra train", checks).found == "never-made>=3 is not installed"
    # What lists nothing is not taken for complete.
    assert "no extra gateway" in of("extra gateway", checks).found
    assert [check.name for check in lacking(checks)] == ["extra train", "extra gateway"]


def test_a_missing_and_an_old_package_are_named_with_the_command(monkeypatch):
    installed = metadata.version

    def version(name):
        if name == "pyarrow":
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "matplotlib" else installed(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    checks = examine()
    train = of("extra train", checks)
    assert not train.ok
    assert "pyarrow>=20 is not installed" in train.found
    assert "matplotlib is 1.0, expected >=3.9" in train.found
    assert train.remedy == 'pip install "pragmatiq-triton[train]"'
    assert [check.name for check in lacking(checks)] == ["extra train"]
    assert not to_dict(checks)["ok"]
    # The extra above it lacks them too, but nobody needs it.
    assert not of("extra nemotron", checks).ok


def test_without_a_server_its_environment_is_missing_and_needed_only_if_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PRAGMATIQ_SERVER_ENV", str(tmp_path))
    checks = examine()
    assert [check.name for check in lacking(checks)] == ["server"]
    assert "python3.11 -m venv" in of("server", checks).remedy
    assert "not looked for" in of("libpython", checks).found
    assert not lacking(examine(["train"]))


def test_a_full_disk_is_told(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**40 - 2**20, 2**20))
    names = [check.name for check in lacking(examine(["train"]))]
    assert names == ["disk here", "disk for temporary files"]


def test_an_unknown_part_is_told_the_choices():
    with pytest.raises(ConfigError, match=r"--need trian: .*choose from train, client"):
        examine(["trian"])
