import re
import shlex
import subprocess
from itertools import pairwise
from string import Template

import pytest

from pragmatiq_builder.image.plan import Base, Extras, ImagePlan
from pragmatiq_builder.image.source import source_revision, source_version
from pragmatiq_triton.errors import ArtifactError, ConfigError
from tests.builder.cli.conftest import ROOT
from tests.builder.image.small_checkout import make_repository, make_snapshot

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEMOTRON = {"extras": Extras.NEMOTRON}
GPU = {"base": Base.GPU}


def plan(**values):
    return ImagePlan(version="1.2.3", revision=COMMIT, **values)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "pragmatiq-triton:1.2.3-cpu"),
        (GPU | NEMOTRON, "pragmatiq-triton:1.2.3-gpu-nemotron"),
        ({"tag": "bank/scoring:7"}, "bank/scoring:7"),
    ],
)
def test_names_say_what_is_inside(values, name):
    assert plan(**values).name == name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text_model": "a/b"}, "--text-model has no effect without --extras nemotron"),
        ({"torch_index": "https://x"}, "--torch-index has no effect without --extras nemotron on the cpu base"),
        (GPU | NEMOTRON | {"torch_index": "https://x"}, "--torch-index has no effect without --extras nemotron on the"),
        ({"triton_tag": "26.10-py3"}, "--triton-tag has no effect without --base gpu"),
        (GPU | {"cpu_image": "debian:12"}, "--cpu-image has no effect without --base cpu"),
        (GPU | {"triton_tag": "x", "gpu_image": "y"}, "--triton-tag has no effect beside --gpu-image"),
        (NEMOTRON | {"text_model": "./weights"}, "--text-model-folder"),
        (NEMOTRON | {"text_model": "a/b", "text_model_revision": "main"}, "expected a commit's 40"),
        (NEMOTRON | {"text_model_revision": COMMIT[:39]}, "expected a commit's 40"),
    ],
)
def test_options_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan(**values)


def test_folders_are_looked_at_before_anything_is_sent(tmp_path):
    with pytest.raises(ArtifactError, match="holds no models"):
        plan(repository=tmp_path)
    with pytest.raises(ArtifactError, match="does not exist"):
        plan(**NEMOTRON, text_model_folder=tmp_path / "none")
    snapshot = make_snapshot(tmp_path)
    assert plan(**NEMOTRON, text_model_folder=snapshot).contexts() == {"text-model": snapshot}
    (snapshot / "model.safetensors").rename(snapshot / "model.bin")
    with pytest.raises(ArtifactError, match=r"holds no \*\.safetensors"):
        plan(**NEMOTRON, text_model_folder=snapshot)


@pytest.mark.parametrize(
    ("variables", "values"),
    [
        ({}, {}),
        ({"EXTRAS": "nemotron"}, NEMOTRON),
        ({"BASE": "gpu", "EXTRAS": "nemotron"}, GPU | NEMOTRON),
        ({"BASE": "gpu", "TRITON_TAG": "26.10-py3"}, GPU | {"triton_tag": "26.10-py3"}),
        ({"BASE": "gpu", "GPU_IMAGE": "mirror/triton:1"}, GPU | {"gpu_image": "mirror/triton:1"}),
        ({"CPU_IMAGE": "mirror/debian:12", "IMAGE": "mine:1"}, {"cpu_image": "mirror/debian:12", "tag": "mine:1"}),
        (
            {"EXTRAS": "nemotron", "TEXT_MODEL": "a/b", "TEXT_MODEL_REVISION": COMMIT, "TORCH_INDEX": "https://x"},
            NEMOTRON | {"text_model": "a/b", "text_model_revision": COMMIT, "torch_index": "https://x"},
        ),
        (
            {"EXTRAS": "nemotron", "TEXT_MODEL_FOLDER": "SNAPSHOT", "REPOSITORY": "MODELS"},
            NEMOTRON | {"text_model_folder": "SNAPSHOT", "repository": "MODELS"},
        ),
    ],
)
def test_make_image_builds_with_the_same(variables, values, tmp_path):
    folders = {"SNAPSHOT": make_snapshot(tmp_path), "MODELS": make_repository(tmp_path / "models")}
    given = [f"{name}={folders.get(value, value)}" for name, value in variables.items()]
    made = plan_of_make(given)
    told = ImagePlan(
        version=source_version(ROOT),
        revision=source_revision(ROOT),
        **{name: folders.get(value, value) for name, value in values.items()},
    )
    assert with_defaults(told.build_args()) == with_defaults(made["--build-arg"])
    assert {name: str(folder) for name, folder in told.contexts().items()} == made["--build-context"]
    assert told.labels() == made["--label"]
    assert told.name == made["--tag"]


def plan_of_make(variables):
    command = ["make", "--no-print-directory", "-n", "image", "ENGINE=docker", *variables]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = shlex.split(next(line for line in printed.replace("\\\n", " ").splitlines() if "docker build" in line))
    made = {"--build-arg": {}, "--build-context": {}, "--label": {}}
    for option, value in pairwise(words):
        if option in made:
            made[option].update([value.split("=", 1)])
        if option == "--tag":
            made[option] = value
    return made


def with_defaults(build_args):
    """What the Dockerfile makes of build arguments; TRITON_TAG is no more than a part of GPU_IMAGE."""
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    values = dict(re.findall(r"^ARG (\w+)=(.*)$", dockerfile, re.MULTILINE)) | build_args
    expanded = {name: Template(value).safe_substitute(values) for name, value in values.items()}
    return {name: value for name, value in expanded.items() if name != "TRITON_TAG"}
