"""What a model repository says of itself: where it comes from, its tasks, and every file's hash."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec

from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.model_config import ConfigFacts
from pragmatiq_triton.model_folders import what_else

FILE = "manifest.json"
FORMAT = 3


class HeadEntry(msgspec.Struct, frozen=True):
    """A task's head: the scoring ``model`` that answers with it, and the SHA-256 of its ``head.json``.

    ``fitted`` says to what it was: the calibrator, the counts of the labels' parts, the date between training and later
    ones, and the SHA-256 of the labels; heads and repositories of earlier versions do not say.
    """

    task: str
    method: str
    kind: str
    model: str
    sha256: str
    fitted: dict[str, Any] = {}


class Change(msgspec.Struct, frozen=True):
    """A number in float32 and with the event encoder in int8."""

    fp32: float
    int8: float

    @property
    def difference(self) -> float:
        """What int8 adds."""
        return self.int8 - self.fp32


class Cosine(msgspec.Struct, frozen=True):
    """Of the angles between users' embeddings in float32 and in int8."""

    min: float
    first_percentile: float
    median: float
    mean: float


class TaskCost(msgspec.Struct, frozen=True):
    """What int8 does to a task's calibrated probabilities on the rows that it is tested on."""

    rows: int
    positives: int
    roc_auc: Change
    pr_auc: Change
    max_score_change: float


class Quantization(msgspec.Struct, frozen=True):
    """What a scorer's event encoder was calibrated with, and what int8 costs it on users held out from that.

    ``embedding_cosine`` is over ``held_out_users``, ``tasks`` over all rows of each task's test part.
    """

    calibration_users: int
    calibration_events: int
    held_out_users: int
    embedding_cosine: Cosine
    tasks: dict[str, TaskCost]


class Manifest(msgspec.Struct, frozen=True):
    """What a repository was made of.

    ``tasks`` maps each scoring model to its tasks, in the order of its scores; ``files`` maps each artifact's path in
    the repository to its SHA-256. ``precision`` is the event encoders'; ``quantization`` says for each scoring model
    what int8 costs it, and is None in float32. ``configs`` maps each ``config.pbtxt`` to what of it an operator may
    change and what not; repositories of earlier versions have none. ``init_from`` is the run whose weights the run
    began with: its name, origin and hash, and what it began with itself; None if the weights were drawn.
    """

    format: int
    run: str
    origin: str
    variant: str
    tokenizer_hash: str
    weights_hash: str
    text_encoder: dict[str, Any] | None
    tasks: dict[str, list[str]]
    heads: list[HeadEntry]
    dim: int
    vocab_size: int
    precision: Literal["fp32", "int8"]
    quantization: dict[str, Quantization] | None
    versions: dict[str, str]
    files: dict[str, str]
    configs: dict[str, ConfigFacts] = {}
    init_from: dict[str, Any] | None = None

    @property
    def string_encoder(self) -> dict[str, Any] | None:
        """What makes the vectors of strings that the table of training's strings lacks; None without a text branch."""
        spec = self.text_encoder
        return (spec.get("fallback") or spec) if spec else None

    @property
    def text_encoder_name(self) -> str | None:
        """The name of :attr:`string_encoder`."""
        spec = self.string_encoder
        return spec.get("encoder") if spec else None


class _Formatted(msgspec.Struct):
    format: int


def read_manifest(repository: Path) -> Manifest:
    """Read a repository's manifest; :class:`ArtifactError` where there is none of this version's."""
    try:
        content = (repository / FILE).read_bytes()
        found = msgspec.json.decode(content, type=_Formatted).format
        if found != FORMAT:
            raise ArtifactError(f"{repository / FILE}: format {found}, expected {FORMAT}; export the run again")
        return msgspec.json.decode(content, type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise ArtifactError(
            f"{repository}: expected a model repository that `pragmatiq export` wrote: {what_else(repository) or error}"
        ) from None


def altered_files(repository: Path) -> list[str]:
    """Paths of artifacts that are missing or no longer what the manifest says."""
    files = read_manifest(repository).files
    return [
        name
        for name, digest in files.items()
        if not (repository / name).is_file() or file_hash(repository / name) != digest
    ]


def file_hash(path: Path) -> str:
    """The file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
