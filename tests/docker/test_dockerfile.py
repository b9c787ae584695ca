"""What can be checked of the image without building it."""

import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml

from pragmatiq_builder.image.plan import ImagePlan
from pragmatiq_triton.text_encoders.nemotron import DEFAULT_MODEL, DEFAULT_REVISION

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
HADOLINT = Path(sys.executable).with_name("hadolint")
MATRIX = list(product(["docker", "buildah"], ["cpu", "gpu"], ["", "nemotron"]))


def make(*variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", "--no-print-directory", "-n", "image", *variables], cwd=ROOT, capture_output=True, encoding="utf-8"
    )


def build_arguments(command: str) -> dict[str, str]:
    return dict(re.findall(r"--build-arg (\w+)=(\S*)", command))


def test_hadolint_finds_nothing() -> None:
    config = ROOT / "docker" / "hadolint.yaml"
    done = subprocess.run(
        [HADOLINT, "--config", config, ROOT / "docker" / "Dockerfile"], capture_output=True, encoding="utf-8"
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert all(re.fullmatch(r"DL\d+", rule) for rule in yaml.safe_load(config.read_text(encoding="utf-8"))["ignored"])


@pytest.mark.parametrize(("engine", "base", "extras"), MATRIX)
def test_every_combination_passes_its_build_arguments(engine: str, base: str, extras: str) -> None:
    command = make(f"ENGINE={engine}", f"BASE={base}", f"EXTRAS={extras}").stdout
    arguments = build_arguments(command)
    assert arguments["BASE"] == base
    assert arguments["PRAGMATIQ_TRITON_EXTRAS"] == extras
    assert f"--tag pragmatiq-triton:0.1.0-{base}{'-nemotron' if extras else ''} " in command
    assert command.startswith(
        "docker build " if engine == "docker" else "buildah bud --isolation chroot --format docker"
    )
    # An argument that the Dockerfile does not know would be dropped without a word.
    assert set(arguments) <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))


def test_folders_are_build_contexts() -> None:
    command = make("REPOSITORY=repository", "TEXT_MODEL_FOLDER=model").stdout
    assert "--build-context repository=repository " in command
    assert "--build-context text-model=model " in command
    assert "--build-context" not in make().stdout


def test_an_unknown_engine_is_refused() -> None:
    done = make("ENGINE=podman")
    assert done.returncode != 0
    assert "ENGINE: expected docker or buildah, got podman" in done.stderr


def test_the_dockerfile_s_text_model_is_the_encoder_s_default() -> None:
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
    assert (defaults["TEXT_MODEL"], defaults["TEXT_MODEL_REVISION"]) == (DEFAULT_MODEL, DEFAULT_REVISION)


def test_defaults_are_left_to_the_dockerfile() -> None:
    assert set(build_arguments(make().stdout)) == set(ImagePlan("0", "0").build_args())
    given = build_arguments(make("TEXT_MODEL=a/b", "GPU_IMAGE=mirror/triton@sha256:0").stdout)
    assert (given["TEXT_MODEL"], given["GPU_IMAGE"]) == ("a/b", "mirror/triton@sha256:0")


def test_the_context_holds_what_the_dockerfile_copies_and_no_more() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in allowed
    for source in re.findall(r"^COPY (docker/\S+)", DOCKERFILE, re.MULTILINE):
        assert any(Path(source).match(pattern.removeprefix("!")) for pattern in allowed if pattern.startswith("!")), (
            source
        )
    assert not any(secret in line for line in allowed for secret in ("secrets", ".env", "!tests", "!."))


def test_stages_need_nothing_that_one_of_the_builders_lacks() -> None:
    for beyond in ("--mount=", "<<EOF", "--link", "--parents"):
        assert beyond not in DOCKERFILE


def test_the_cache_folder_is_writable_for_any_user_of_group_0() -> None:
    """As clusters that assign users run it (OpenShift): in group 0, and without an entry in /etc/passwd."""
    assert "mkdir -m 0770 /volumes/cache" in DOCKERFILE
    assert "COPY --from=environment --chown=1000:0 /volumes /" in DOCKERFILE
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert {"HOME=/tmp", "USER=triton-server"} <= set(last.replace("\\", "").split())
