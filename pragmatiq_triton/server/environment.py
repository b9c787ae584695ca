"""Which Python environment holds the server, and whether it is complete.

The server is the ``tritonserver`` that the ``nvidia-pytriton`` wheel carries. Its Python models run in a stub process
that is linked against one Python version, so the environment decides which stub and which libpython are used.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pragmatiq_triton.errors import MissingDependencyError

ENVIRONMENT_VARIABLE = "PRAGMATIQ_SERVER_ENV"
INSTALL = 'python3.11 -m venv .venv-serve && .venv-serve/bin/pip install "pragmatiq-triton[serve,embedded]"'
STUB = "triton_python_backend_stub"

# Run by the environment's own interpreter; imports nothing but the standard library.
_PROBE = """
import importlib.metadata, importlib.util, json, os, sys, sysconfig
names = ("pytriton", "numpy", "onnxruntime", "pragmatiq_triton")
specs = {name: importlib.util.find_spec(name) for name in names}
base = sysconfig.get_config_var("LIBDIR") or os.path.join(sys.base_prefix, "lib")
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "packages": {name: os.path.dirname(spec.origin) for name, spec in specs.items() if spec and spec.origin},
    "numpy": importlib.metadata.version("numpy") if specs["numpy"] else "",
    "lib_folders": [base, os.path.join(base, sysconfig.get_config_var("MULTIARCH") or "")],
}))
"""


class _Facts(TypedDict):
    python: str
    packages: dict[str, str]
    numpy: str
    lib_folders: list[str]


@dataclass(frozen=True, slots=True)
class ServerEnvironment:
    """A complete server environment, as :func:`find_server_environment` returns it.

    ``tritonserver``, ``python_backend`` and ``stub`` are paths inside the wheel; ``library_folders`` is what
    ``LD_LIBRARY_PATH`` needs and ``package_folders`` what ``PYTHONPATH`` needs, first in search order first.
    """

    prefix: Path
    tritonserver: Path
    python_backend: Path
    stub: Path
    library_folders: tuple[Path, ...]
    package_folders: tuple[Path, ...]

    def variables(self) -> dict[str, str]:
        """The process environment that the server and its Python models run in."""
        first = {
            "LD_LIBRARY_PATH": self.library_folders,
            "PATH": (self.prefix / "bin",),
            "PYTHONPATH": self.package_folders,
        }
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
        for name, folders in first.items():
            # The server's current folder is another one.
            inherited = [str(Path(folder).absolute()) for folder in variables.get(name, "").split(os.pathsep) if folder]
            variables[name] = os.pathsep.join([*map(str, folders), *inherited])
        return variables


def find_server_environment(path: Path | None = None) -> ServerEnvironment:
    """Find the Python environment that the embedded server runs in and check that it is complete.

    Looked for in this order: ``path``, the environment variable ``PRAGMATIQ_SERVER_ENV``, the running interpreter's
    environment, ``.venv-serve`` in the current folder, ``.venv-serve`` beside the running environment. One that is
    named (the first two) has to be right; of the others the first that holds the wheel is taken.

    Raises:
        MissingDependencyError: no environment holds the server, or the one that does lacks a part; the message says
            which and what to install.
    """
    named = path or os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        prefix = Path(named).absolute()
        if not (prefix / "bin" / "python").exists():
            raise MissingDependencyError(f"{prefix} is not a Python environment (no bin/python). Make one: {INSTALL}")
        return _checked(prefix, _probe(prefix))
    candidates = list(_candidates())
    for prefix in candidates:
        facts = _probe(prefix)
        if "pytriton" in facts["packages"]:
            return _checked(prefix, facts)
    looked_at = ", ".join(map(str, candidates))
    raise MissingDependencyError(
        f"no Triton server: none of these environments holds the nvidia-pytriton wheel: {looked_at}. "
        f"Run `make setup`, or `{INSTALL}`, or name an environment in {ENVIRONMENT_VARIABLE}."
    )


def _candidates() -> Iterator[Path]:
    running = Path(sys.prefix)
    folders = (running, Path.cwd() / ".venv-serve", running.parent / ".venv-serve")
    yield from (folder for folder in dict.fromkeys(folders) if (folder / "bin" / "python").exists())


def _probe(prefix: Path) -> _Facts:
    python = prefix / "bin" / "python"
    try:
        found = subprocess.run([python, "-c", _PROBE], cwd=prefix, capture_output=True, encoding="utf-8", check=True)
        facts: _Facts = json.loads(found.stdout)
    except (OSError, subprocess.CalledProcessError, json.JSONDecodeError) as error:
        detail = getattr(error, "stderr", None) or error
        raise MissingDependencyError(
            f"{python} does not run: {detail}. Make the environment again: {INSTALL}"
        ) from error
    return facts


def _checked(prefix: Path, facts: _Facts) -> ServerEnvironment:
    packages = {name: Path(folder) for name, folder in facts["packages"].items()}
    pip = f"{prefix}/bin/pip install"
    if "pytriton" not in packages:
        raise MissingDependencyError(
            f"{prefix} does not hold the nvidia-pytriton wheel: "
            f'{pip} "pragmatiq-triton[serve,embedded]" (or `make setup`)'
        )
    wheel = packages["pytriton"] / "tritonserver"
    for package in ("numpy", "onnxruntime", "pragmatiq_triton"):
        if package not in packages:
            raise MissingDependencyError(
                f'{prefix} cannot import {package}, which the models need: {pip} "pragmatiq-triton[serve,embedded]"'
            )
    if int(facts["numpy"].partition(".")[0]) >= 2:
        raise MissingDependencyError(
            f"{prefix} has numpy {facts['numpy']}, but the server's Python stub reads NumPy 2 arrays as garbage "
            f'and dies: {pip} "numpy<2"'
        )
    stub = _stub(prefix, wheel, facts["python"])
    bundled = packages["pytriton"].parent / "nvidia_pytriton.libs"
    libpython = _libpython_folder(facts["python"], bundled, [Path(folder) for folder in facts["lib_folders"]])
    return ServerEnvironment(
        prefix=prefix,
        tritonserver=wheel / "bin" / "tritonserver",
        python_backend=wheel / "backends" / "python",
        stub=stub,
        library_folders=tuple(dict.fromkeys((bundled, libpython))),
        package_folders=tuple(dict.fromkeys(folder.parent for folder in packages.values())),
    )


def _stub(prefix: Path, wheel: Path, python: str) -> Path:
    stubs = {stub.parent.name: stub for stub in (wheel / "python_backend_stubs").glob(f"*/{STUB}")}
    if python not in stubs:
        versions = ", ".join(sorted(stubs, key=lambda version: [int(part) for part in version.split(".")]))
        raise MissingDependencyError(
            f"{prefix} runs Python {python}, for which the wheel has no backend stub (it has {versions or 'none'}). "
            f"Make an environment with one of those: {INSTALL}"
        )
    return stubs[python]


def _libpython_folder(python: str, bundled: Path, folders: list[Path]) -> Path:
    """The folder of the shared libpython that the stub of this version is linked against."""
    minor = python.partition(".")[2]
    if any(bundled.glob(f"libpython3-*.{minor}.so.1.0")):
        return bundled
    name = f"libpython{python}.so.1.0"
    for folder in folders:
        if (folder / name).exists():
            return folder
    raise MissingDependencyError(
        f"no shared {name} in {', '.join(map(str, folders))}: the server's Python stub is linked against it. "
        f"Debian/Ubuntu: apt-get install libpython{python}; "
        f"pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force {python}"
    )
