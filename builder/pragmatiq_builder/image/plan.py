"""What an image is to be: the build arguments, build contexts and name that ``docker/Dockerfile`` is built with."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.model_folders import model_names

IMAGE = "pragmatiq-triton"
CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Base(StrEnum):
    """Where the server comes from."""

    CPU = "cpu"
    GPU = "gpu"


class Extras(StrEnum):
    """What is installed beside the server's own needs."""

    NONE = ""
    NEMOTRON = "nemotron"


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """Everything that a build is told; ``None`` leaves a value to the Dockerfile.

    Args:
        version, revision: of the checkout; they become the image's OCI labels.
        repository: a model repository to bake in.
        text_model, text_model_revision: the embedder on the hub and its commit's 40 digits.
        text_model_folder: weights to put in as those of ``text_model``, instead of fetching them.
        triton_tag, gpu_image: tag of NVIDIA's image, or another image in its place.
        torch_index: one more package index, with the torch of the CPU base; empty for none, ``None`` for that of
            PyTorch's CPU builds. The GPU base takes torch from PyPI, by its hash.
        tag: ``NAME[:TAG]`` in place of ``pragmatiq-triton:<version>-<base>[-<extras>]``.

    Raises:
        ConfigError: A value does not fit, or has no effect beside the others.
        ArtifactError: ``repository`` is no model repository, or ``text_model_folder`` holds no model.
    """

    version: str
    revision: str
    base: Base = Base.CPU
    extras: Extras = Extras.NONE
    repository: Path | None = None
    text_model: str | None = None
    text_model_revision: str | None = None
    text_model_folder: Path | None = None
    triton_tag: str | None = None
    cpu_image: str | None = None
    gpu_image: str | None = None
    torch_index: str | None = None
    tag: str | None = None

    def __post_init__(self) -> None:
        self._check_effect()
        if self.text_model_revision is not None and not _COMMIT.fullmatch(self.text_model_revision):
            raise ConfigError(
                f"--text-model-revision {self.text_model_revision!r}: expected a commit's 40 hexadecimal digits"
            )
        if self.text_model and not self.text_model_revision:
            raise ConfigError(
                f"--text-model {self.text_model}: a hub id needs --text-model-revision, the 40-digit commit that pins "
                "it; a folder with weights is given with --text-model-folder"
            )
        if self.text_model_folder:
            _check_weights(self.text_model_folder)
        if self.repository:
            model_names(self.repository)

    @property
    def name(self) -> str:
        """Name and tag of the image."""
        return self.tag or f"{IMAGE}:{'-'.join(filter(None, (self.version, self.base, self.extras)))}"

    def build_args(self) -> dict[str, str]:
        """``--build-arg`` of ``docker/Dockerfile``."""
        torch_index = CPU_TORCH_INDEX if self.base is Base.CPU else ""
        given = {
            "TRITON_TAG": self.triton_tag,
            "CPU_IMAGE": self.cpu_image,
            "GPU_IMAGE": self.gpu_image,
            "TEXT_MODEL": self.text_model,
            "TEXT_MODEL_REVISION": self.text_model_revision,
        }
        return {
            "BASE": self.base.value,
            "PRAGMATIQ_TRITON_EXTRAS": self.extras.value,
            "TORCH_INDEX": torch_index if self.torch_index is None else self.torch_index,
            **{name: value for name, value in given.items() if value},
        }

    def labels(self) -> dict[str, str]:
        """``--label`` of the image: what it was built from."""
        return {
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.revision": self.revision,
            "pragmatiq-triton.base": self.base.value,
            "pragmatiq-triton.extras": self.extras.value,
        }

    def contexts(self) -> dict[str, Path]:
        """Folders that stand in for the Dockerfile's empty stages of these names."""
        folders = {"text-model": self.text_model_folder, "repository": self.repository}
        return {name: folder for name, folder in folders.items() if folder}

    def _check_effect(self) -> None:
        nemotron = ("--extras nemotron", self.extras is Extras.NEMOTRON)
        gpu = ("--base gpu", self.base is Base.GPU)
        needs = {
            "--text-model": (self.text_model, *nemotron),
            "--text-model-revision": (self.text_model_revision, *nemotron),
            "--text-model-folder": (self.text_model_folder, *nemotron),
            "--torch-index": (self.torch_index, f"{nemotron[0]} on the cpu base", nemotron[1] and not gpu[1]),
            "--triton-tag": (self.triton_tag, *gpu),
            "--gpu-image": (self.gpu_image, *gpu),
            "--cpu-image": (self.cpu_image, "--base cpu", self.base is Base.CPU),
        }
        for option, (value, needed, there) in needs.items():
            if value and not there:
                raise ConfigError(f"{option} has no effect without {needed}")
        if self.triton_tag and self.gpu_image:
            raise ConfigError("--triton-tag has no effect beside --gpu-image, which names its own tag")


def _check_weights(folder: Path) -> None:
    if not folder.is_dir():
        raise ArtifactError(f"no weights at {folder}: the folder does not exist")
    for needed in ("config.json", "*.safetensors"):
        if not any(folder.glob(needed)):
            raise ArtifactError(f"{folder} holds no {needed}: expected the folder of a transformers model")
