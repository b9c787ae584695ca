"""Images built by `make image`, without an engine, on a base that debootstrap makes."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.image.container import Container
from tests.docker.base_image import NAME, make_base_image, wheel_folders

ROOT = Path(__file__).parents[2]
TEXT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TEXT_MODEL_REVISION = "c0ffee" + 34 * "0"
"""Stands for a commit of the hub, which cannot be asked."""

OPEN = {"PRAGMATIQ_GATEWAY_AUTH_ALLOW_ANONYMOUS": "1", "PRAGMATIQ_GATEWAY_TLS_ALLOW_PLAINTEXT": "1"}
"""What a container that is open to the network wants to be told."""

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def make_image() -> Build:
    """``make image`` through buildah with the variables given; its output."""
    missing = [program for program in ("buildah", "debootstrap") if not shutil.which(program)]
    if missing or os.geteuid() != 0:
        needed = f"{' and '.join(missing)} (Debian: apt-get install buildah debootstrap)" if missing else "root"
        pytest.skip(f"not run: building without a Docker engine needs {needed}")
    make_base_image()
    volumes = " ".join(f"--volume {folder}:{folder}:ro" for folder in wheel_folders())

    def make(**variables: object) -> "subprocess.CompletedProcess[str]":
        settings = {"ENGINE": "buildah", "CPU_IMAGE": NAME, "TORCH_INDEX": "", "BUILD_FLAGS": volumes, **variables}
        words = [f"{name}={value}" for name, value in settings.items()]
        return subprocess.run(
            ["make", "--no-print-directory", "image", *words], cwd=ROOT, capture_output=True, encoding="utf-8"
        )

    return make


def built(make_image: Build, **variables: object) -> str:
    """The name of the image that ``make image`` builds so."""
    name = f"localhost/pragmatiq-test:{'-'.join(map(str, [variables.get('BASE', 'cpu'), variables.get('EXTRAS', '')]))}"
    name = f"{name.rstrip('-')}{'-baked' if 'REPOSITORY' in variables else ''}"
    done = make_image(IMAGE=name, **variables)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return name


@pytest.fixture(scope="session")
def cpu_image(make_image: Build) -> str:
    return built(make_image)


@pytest.fixture(scope="session")
def nemotron_image(make_image: Build, minilm_folder: Path) -> str:
    return built(
        make_image,
        EXTRAS="nemotron",
        TEXT_MODEL=TEXT_MODEL,
        TEXT_MODEL_REVISION=TEXT_MODEL_REVISION,
        TEXT_MODEL_FOLDER=minilm_folder,
    )


@pytest.fixture
def run_image(tmp_path: Path) -> Iterator[Callable[..., Container]]:
    """Start a container over a repository; it ends with the test. Its log is ``container.log`` in ``tmp_path``."""
    containers: list[Container] = []

    def run(
        image: str, repository: Path | None = None, volumes: dict[str, Path] | None = None, **settings: Any
    ) -> Container:
        volumes = {**(volumes or {}), **({"/models": repository} if repository else {})}
        # Its network is loopback alone.
        settings["variables"] = {**OPEN, **settings.get("variables", {})}
        container = Container(image, volumes=volumes, log_file=tmp_path / "container.log", **settings)
        containers.append(container.__enter__())
        return container

    yield run
    for container in containers:
        container.__exit__(None, None, None)
