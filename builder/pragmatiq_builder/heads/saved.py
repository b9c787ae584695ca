"""The heads that fine-tuning left in a run: ``heads/<task>/``, each with its files."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pragmatiq_builder.heads.head import Head, load_head
from pragmatiq_triton.errors import ArtifactError

HEADS_FOLDER, EVALUATION_FILE = "heads", "evaluation.json"


def evaluation_file(n_folds: int = 0) -> str:
    """The name of an evaluation's file: one of its own for each number of folds, 0 for the held-out part."""
    return f"evaluation-folds{n_folds}.json" if n_folds else EVALUATION_FILE


@dataclass(frozen=True, slots=True)
class SavedHead:
    """A head and the folder that holds it; where it was fitted with adapters, these lie beside it."""

    head: Head
    folder: Path

    @property
    def adapters_file(self) -> Path:
        """There for a head of method "lora"."""
        return self.folder / "lora.safetensors"

    @property
    def evaluation_files(self) -> list[Path]:
        """Those that are there: of the held-out part first, then of folds."""
        held_out = self.folder / EVALUATION_FILE
        return [*([held_out] if held_out.exists() else []), *sorted(self.folder.glob("evaluation-folds*.json"))]

    @property
    def sha256(self) -> str:
        """Of ``head.json``, which names the hash of the head's numbers."""
        return sha256((self.folder / "head.json").read_bytes()).hexdigest()


def saved_heads(run: Path) -> list[SavedHead]:
    """The heads of the run folder ``run``, by task; none without a folder ``heads``.

    Raises :class:`ArtifactError` for a head that is incomplete, damaged or in the folder of another task.
    """
    root = run / HEADS_FOLDER
    # A name with a dot in front is a fit under way, or what a kill left of one.
    entries = root.iterdir() if root.is_dir() else ()
    folders = sorted(path for path in entries if path.is_dir() and not path.name.startswith("."))
    return [SavedHead(_load(folder), folder) for folder in folders]


def _load(folder: Path) -> Head:
    if not (folder / "head.json").exists():
        raise ArtifactError(
            f"{folder}: no head.json: fine-tuning was interrupted; fine-tune the task again or remove the folder"
        )
    head = load_head(folder)
    if head.task != folder.name:
        raise ArtifactError(
            f"{folder}: holds the head of task {head.task}; put it back into {folder.parent}/{head.task}"
        )
    return head
