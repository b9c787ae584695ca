"""``pragmatiq doctor``: what this machine has, what it lacks, and the command that brings it.

What is needed is what pyproject.toml says: in a checkout by the file, elsewhere by the installed package's metadata.
"""

import os
import platform
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pragmatiq_builder.threads import free_cpus
from pragmatiq_triton.cpus import usable_cpus
from pragmatiq_triton.errors import ConfigError, MissingDependencyError
from pragmatiq_triton.server import find_server_environment

DISTRIBUTION = "pragmatiq-triton"
SERVER, LIBPYTHON = "server", "libpython"
EXTRAS = {
    "train": "ingest, tokenize, pretrain, finetune, evaluate, export",
    "client": "score, and the client library",
    "gateway": "serve, unless --no-gateway",
    "serve": "the models, outside the server too: warm",
    "nemotron": "text models, in tokenize and in the server",
    "embedder": "text models, in the server's environment",
    "tracing": "traces of the gateway and the models",
    "databases": "ingest, from PostgreSQL and SQLite",
    "image": "pragmatiq image",
    "dev": "the tests and linters of this project",
}
"""Extras of this environment, and what each is for; ``embedded``, the server itself, has one of its own."""
NEEDED = ("train", "client", "gateway", SERVER)
"""Without these the way from raw data to a served score ends on this machine."""
LEAST_FREE = 2**30
"""Bytes below which a place is told to be short of room."""
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
"""A checkout has this file; an installed package does not."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: ``found`` in words, ``remedy`` the command or deed that mends it, if any does."""

    name: str
    ok: bool
    needed: bool
    found: str
    use: str
    remedy: str | None = None


def examine(needs: Sequence[str] = NEEDED) -> list[Check]:
    """Look at the packages, the server's environment, the cores, the memory and the disk.

    ``needs``: which of the extras, and ``server``, have to be there. Raises :class:`ConfigError` for another name.
    """
    if unknown := [name for name in needs if name not in (*EXTRAS, SERVER)]:
        known = ", ".join((*EXTRAS, SERVER))
        raise ConfigError(f"--need {', '.join(unknown)}: there is no such part; choose from {known}")
    return [*_extras(needs), *_server(SERVER in needs), *_machine()]


def lacking(checks: Sequence[Check]) -> list[Check]:
    """What is needed and not right."""
    return [check for check in checks if check.needed and not check.ok]


def to_dict(checks: Sequence[Check]) -> dict[str, Any]:
    """Plain values, as for JSON."""
    return {
        "ok": not lacking(checks),
        "pragmatiq-triton": metadata.version(DISTRIBUTION),
        "python": platform.python_version(),
        "checks": [asdict(check) for check in checks],
    }


def _extras(needs: Sequence[str]) -> Iterator[Check]:
    for extra, use in EXTRAS.items():
        try:
            wrong = [problem for requirement in requirements(extra) if (problem := _problem(requirement))]
        except KeyError as error:
            wrong = [f"the installed package has no extra {error.args[0]}: it is of another version"]
        found = "; ".join(wrong) if wrong else "installed"
        remedy = f'pip install "{DISTRIBUTION}[{extra}]"' if wrong else None
        yield Check(f"extra {extra}", not wrong, extra in needs, found, use, remedy)


def requirements(extra: str) -> list[Requirement]:
    """What an extra brings, those of the extras that it names included, in the order of their names.

    Raises :class:`KeyError` for an extra that the installed package does not have.
    """
    found: dict[str, Requirement] = {}
    for requirement in _listed(extra):
        if requirement.name == DISTRIBUTION:
            for inner in requirement.extras:
                found |= {each.name: each for each in requirements(inner)}
        elif requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            found[requirement.name] = requirement
    return [found[name] for name in sorted(found)]


def _listed(extra: str) -> list[Requirement]:
    """What an extra names itself: by pyproject.toml in a checkout, by the package's metadata where it is installed.

    The metadata of a checkout are of the day on which it was installed, and miss what came later.
    """
    if PYPROJECT.is_file():
        extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
        return [Requirement(line) for line in extras[extra]]
    if extra not in (metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []):
        raise KeyError(extra)
    listed = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    return [each for each in listed if _is_of(each, extra)]


def _is_of(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is there for the extra, and not without it."""
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _problem(requirement: Requirement) -> str | None:
    """What is wrong with an installed package, or that it is not installed."""
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{wanted} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, expected {requirement.specifier}"
    return None


def _server(needed: bool) -> Iterator[Check]:
    use = "serve; an environment of its own, with nvidia-pytriton"
    linked = "what the server's Python models are linked against"
    try:
        environment = find_server_environment()
    except MissingDependencyError as error:
        yield Check(SERVER, False, needed, "no complete environment", use, str(error))
        yield Check(LIBPYTHON, False, False, "not looked for, without the server's environment", linked)
    else:
        yield Check(SERVER, True, needed, str(environment.prefix), use)
        yield Check(LIBPYTHON, True, needed, str(environment.library_folders[-1]), linked)


def _machine() -> Iterator[Check]:
    usable, present = usable_cpus(), os.cpu_count() or 1
    yield Check("cores", True, False, f"{usable} of {present} usable, {free_cpus()} idle now", "--threads auto")
    if available := _available_memory():
        yield Check("memory", True, False, f"{available / 2**30:.1f} GiB available", "pretrain, finetune, serve")
    places = {"disk here": Path.cwd(), "disk for temporary files": Path(tempfile.gettempdir())}
    for name, folder in places.items():
        free = shutil.disk_usage(folder).free
        enough = free >= LEAST_FREE
        remedy = None if enough else f"make room in {folder}: less than {LEAST_FREE / 2**30:.0f} GiB is free"
        found = f"{free / 2**30:.1f} GiB free in {folder}"
        yield Check(name, enough, True, found, "data sets, runs, repositories", remedy)


def _available_memory() -> int | None:
    """Bytes that programs can still have, as the kernel says; None where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        kibibytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return int(kibibytes) * 1024
