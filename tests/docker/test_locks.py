"""The image's Python packages: what the lock files hold, and that the build takes nothing else."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = {path.name: path for path in DOCKER.glob("lock-*.txt")}
SERVER = ["lock-cpu.txt", "lock-cpu-nemotron.txt", "lock-gpu.txt", "lock-gpu-nemotron.txt"]


def entries(name: str) -> list[str]:
    """The lock's entries, each on one line."""
    lines = LOCKS[name].read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def pinned(name: str) -> dict[str, str]:
    """Versions by package."""
    pairs = [entry.split(maxsplit=1)[0].split("==") for entry in entries(name)]
    return {canonicalize_name(package): version for package, version in pairs}


def needed(name: str) -> list[Requirement]:
    """What pyproject.toml says that the image needs."""
    extras = PROJECT["project"]["optional-dependencies"]
    embedder = extras["embedder"] if "nemotron" in name else []
    listed = [*PROJECT["project"]["dependencies"], *extras["serve"], *extras["gateway"], *extras["tracing"], *embedder]
    return [Requirement(each) for each in listed]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_one_version_and_hashes(name: str) -> None:
    for entry in entries(name):
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( +--hash=sha256:[0-9a-f]{64})+", entry), entry
    assert len(pinned(name)) == len(entries(name))


@pytest.mark.parametrize("name", SERVER)
def test_a_lock_has_what_pyproject_asks_for(name: str) -> None:
    versions = pinned(name)
    environment = {**default_environment(), "python_version": "3.12" if "gpu" in name else "3.11"}
    for requirement in needed(name):
        if requirement.name == "torch" and "cpu" in name:
            assert "torch" not in versions, "PyPI's torch brings CUDA"
            continue
        assert not requirement.marker or requirement.marker.evaluate(environment)
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("name", SERVER)
def test_a_lock_is_for_its_base_and_extras(name: str) -> None:
    """No package of the embedder is in the plain image, and NumPy is what the base's Triton reads."""
    versions = pinned(name)
    assert ("transformers" in versions) == ("nemotron" in name)
    assert any(package.startswith("nvidia-") for package in versions) == (name == "lock-gpu-nemotron.txt")
    assert versions["numpy"].startswith("1.") == ("cpu" in name)


def test_the_build_s_torch_is_pyproject_s() -> None:
    [torch] = [each for each in needed("nemotron") if each.name == "torch"]
    assert re.findall(r" (torch==[\w.]+)", DOCKERFILE) == [str(torch)]
    config = tomllib.loads((DOCKER / "lock-without-cuda.toml").read_text(encoding="utf-8"))
    [metadata] = config["dependency-metadata"]
    assert f"{metadata['name']}=={metadata['version']}" == str(torch)


def test_the_build_installs_by_hash_but_for_torch_and_the_project() -> None:
    commands = re.findall(r"pip3? (?:--python \S+ )?(?:install|download) [^&;]+", DOCKERFILE.replace("\\\n", " "))
    unlocked = [each for each in commands if "--require-hashes" not in each]
    assert len(commands) == 6
    assert ["torch==" in each for each in unlocked] == [True, False]
    assert "--no-deps /wheel/*.whl" in unlocked[1]
    assert "--no-build-isolation" in DOCKERFILE


def test_make_lock_writes_every_lock_of_the_build() -> None:
    command = ["make", "--no-print-directory", "-n", "lock"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    assert sorted(re.findall(r"--output-file docker/(\S+)", printed)) == sorted(LOCKS)
    named = set(re.findall(r"lock-(?:build|sbom|tritonserver)\.txt", DOCKERFILE))
    assert named | set(SERVER) == set(LOCKS)
