import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pragmatiq_triton.errors import MissingDependencyError
from pragmatiq_triton.server import find_server_environment

MakeEnvironment = Callable[..., Path]


@pytest.fixture
def make_environment(tmp_path: Path) -> MakeEnvironment:
    """A folder that looks like a complete Python 3.11 server environment but for what the keywords change."""

    def make(
        name: str = "fake",
        *,
        python: str = "3.11",
        numpy: str = "1.26.4",
        without: str = "",
        stubs: tuple[str, ...] = ("3.9", "3.10", "3.11"),
        libpython: bool = True,
    ) -> Path:
        prefix = tmp_path / name
        site, lib = prefix / "site", prefix / "lib"
        for version in stubs:
            stub = site / "pytriton/tritonserver/python_backend_stubs" / version / "triton_python_backend_stub"
            stub.parent.mkdir(parents=True)
            stub.touch()
        lib.mkdir(parents=True)
        if libpython:
            (lib / f"libpython{python}.so.1.0").touch()
        packages = {name: str(site / name) for name in ("pytriton", "numpy", "onnxruntime", "pragmatiq_triton")}
        packages.pop(without, None)
        facts: dict[str, Any] = {"python": python, "packages": packages, "numpy": numpy, "lib_folders": [str(lib)]}
        interpreter = prefix / "bin" / "python"
        interpreter.parent.mkdir()
        interpreter.write_text(f"#!/bin/sh\ncat <<'EOF'\n{json.dumps(facts)}\nEOF\n", encoding="utf-8")
        interpreter.chmod(interpreter.stat().st_mode | stat.S_IXUSR)
        return prefix

    return make


def test_complete_environment(make_environment: MakeEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = make_environment()
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment = find_server_environment(prefix)
    assert environment.stub.parts[-2] == "3.11"
    variables = environment.variables()
    assert variables["LD_LIBRARY_PATH"].split(":") == [
        str(prefix / "site/nvidia_pytriton.libs"),
        str(prefix / "lib"),
        "/opt/lib",
    ]
    assert variables["PYTHONPATH"] == str(prefix / "site")
    assert variables["PATH"] == f"{prefix / 'bin'}:{os.environ['PATH']}"
    assert "PYTHONHOME" not in variables


def test_bundled_libpython_is_enough(make_environment: MakeEnvironment) -> None:
    prefix = make_environment(python="3.13", stubs=("3.13",), libpython=False)
    bundled = prefix / "site/nvidia_pytriton.libs"
    bundled.mkdir()
    (bundled / "libpython3-0a1b2c3d.13.so.1.0").touch()
    assert find_server_environment(prefix).library_folders == (bundled,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": "pytriton"}, r"does not hold the nvidia-pytriton wheel: .*serve,embedded"),
        ({"without": "onnxruntime"}, r"cannot import onnxruntime"),
        ({"without": "pragmatiq_triton"}, r"cannot import pragmatiq_triton"),
        ({"without": "numpy"}, r"cannot import numpy"),
        ({"numpy": "2.1.0"}, r'numpy 2\.1\.0.*"numpy<2"'),
        ({"python": "3.14"}, r"Python 3\.14.*\(it has 3\.9, 3\.10, 3\.11\)"),
        ({"libpython": False}, r"no shared libpython3\.11\.so\.1\.0 .*apt-get install libpython3\.11"),
    ],
)
def test_missing_part_is_named(make_environment: MakeEnvironment, change: dict[str, Any], message: str) -> None:
    with pytest.raises(MissingDependencyError, match=message):
        find_server_environment(make_environment(**change))


def test_not_an_environment(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"no bin/python.*venv"):
        find_server_environment(tmp_path)


def test_interpreter_that_does_not_run(make_environment: MakeEnvironment) -> None:
    prefix = make_environment()
    (prefix / "bin/python").write_text("#!/bin/sh\necho broken >&2\nexit 1\n", encoding="utf-8")
    with pytest.raises(MissingDependencyError, match="does not run: broken"):
        find_server_environment(prefix)


def test_search_order(make_environment: MakeEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    named, variable, running = (make_environment(name) for name in ("named", "variable", "project/.venv"))
    beside, here = make_environment("project/.venv-serve"), make_environment("here/.venv-serve")
    monkeypatch.setattr("sys.prefix", str(running))
    monkeypatch.chdir(here.parent)
    monkeypatch.setenv("PRAGMATIQ_SERVER_ENV", str(variable))
    assert find_server_environment(named).prefix == named
    assert find_server_environment().prefix == variable
    monkeypatch.delenv("PRAGMATIQ_SERVER_ENV")
    for expected in (running, here, beside):
        assert find_server_environment().prefix == expected
        (expected / "bin/python").unlink()
    with pytest.raises(MissingDependencyError, match=r"no Triton server.*make setup"):
        find_server_environment()


def test_environment_without_the_wheel_is_passed_over(
    make_environment: MakeEnvironment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running = make_environment("project/.venv", without="pytriton", numpy="2.3.0")
    beside = make_environment("project/.venv-serve")
    monkeypatch.setattr("sys.prefix", str(running))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PRAGMATIQ_SERVER_ENV", raising=False)
    assert find_server_environment().prefix == beside
