"""The distinct strings of a data set and their frozen vectors, each embedded once."""

import hashlib
import json
import logging
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.dataset.arrays import map_array
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_triton.batch import Float32, cu_seqlens
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.finite import require_finite
from pragmatiq_triton.text_encoders import TextEncoder
from pragmatiq_triton.text_encoders.known_strings import sampled
from pragmatiq_triton.text_encoders.protocol import strings_cut

logger = logging.getLogger(__name__)

CHUNK_TEXTS = 1_024
_FILES = ("texts.bin", "text_offsets.npy", "vectors.npy")
_STATE = "encoder.json"


class TextStore:
    """A folder with ``texts.bin`` (UTF-8 end to end), ``text_offsets.npy``, ``vectors.npy`` and ``encoder.json``.

    ``encoder.json`` says who computes the vectors and how many are there, so that an interrupted run goes on.
    """

    def __init__(self, folder: Path, state: dict[str, Any]) -> None:
        self.folder = folder
        self._state = state
        self._offsets: npt.NDArray[np.int64] = map_array(folder / "text_offsets.npy")

    @classmethod
    def create(
        cls, folder: Path, texts: list[str], encoder: TextEncoder, text_model: Path | None = None
    ) -> "TextStore":
        """Write the strings; vectors that the same encoder computed for the same strings before are kept.

        ``text_model``: the local folder that the encoder was loaded from, remembered for export.
        """
        folder.mkdir(parents=True, exist_ok=True)
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        blob = b"".join(encoded)
        offsets = cu_seqlens([len(text) for text in encoded])
        state = {
            "encoder": encoder.name,
            "dim": encoder.dim,
            "revision": encoder.revision,
            "texts_sha256": hashlib.sha256(blob + offsets.tobytes()).hexdigest(),
        }
        earlier = _read_state(folder)
        if earlier is None or any(earlier.get(name) != value for name, value in state.items()):
            # Runs link to these files: new ones replace them, the linked ones stay as they are.
            for name in _FILES:
                (folder / name).unlink(missing_ok=True)
            (folder / "texts.bin").write_bytes(blob)
            np.save(folder / "text_offsets.npy", offsets)
            np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (len(texts), encoder.dim)).flush()
            _take_room(folder / "vectors.npy")
            earlier = {**state, "embedded": 0}
        _write_state(folder, {**earlier, "text_model": str(text_model.resolve()) if text_model else None})
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> "TextStore":
        """Open a store; :class:`ArtifactError` where it is not one."""
        state = _read_state(folder)
        if state is None:
            raise ArtifactError(f"{folder}: expected the texts of a tokenized data set (encoder.json); tokenize again")
        return cls(folder, state)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def encoder_name(self) -> str:
        return str(self._state["encoder"])

    @property
    def dim(self) -> int:
        return int(self._state["dim"])

    @property
    def revision(self) -> str:
        return str(self._state["revision"])

    @property
    def text_model(self) -> Path | None:
        """The local folder of the encoder's model, where it was one."""
        return Path(self._state["text_model"]) if self._state["text_model"] else None

    @property
    def n_embedded(self) -> int:
        """Strings whose vectors are there."""
        return int(self._state["embedded"])

    @property
    def is_complete(self) -> bool:
        return self.n_embedded == len(self)

    def texts(self, first: int = 0, last: int | None = None) -> list[str]:
        """The strings numbered ``first`` to ``last``, in order."""
        offsets = self._offsets[first : (len(self) if last is None else last) + 1]
        with (self.folder / "texts.bin").open("rb") as file:
            file.seek(int(offsets[0]))
            blob = file.read(int(offsets[-1] - offsets[0]))
        bounds = (offsets - offsets[0]).tolist()
        return [blob[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(bounds)]

    def vectors(self, numbers: npt.NDArray[np.integer]) -> Float32:
        """Frozen vectors of the strings with these numbers: float32 [n, dim].

        Raises :class:`ArtifactError` where strings have none yet, or one that is not finite.
        """
        if not self.is_complete:
            raise ArtifactError(
                f"{self.folder}: {self._state['embedded']} of {len(self)} strings are embedded; "
                "run `pragmatiq tokenize` again with the same options, it goes on where it stopped"
            )
        vectors = np.asarray(map_array(self.folder / "vectors.npy")[numbers], np.float32)
        require_finite(str(self.folder / "vectors.npy"), vectors, "remove the folder and tokenize again")
        return vectors

    def link(self, folder: Path) -> None:
        """Make the finished store appear at ``folder`` too: by hard links where the file system has them."""
        self.vectors(np.zeros(0, np.int64))
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*_FILES, _STATE):
            (folder / name).unlink(missing_ok=True)
            try:
                os.link(self.folder / name, folder / name)
            except OSError:
                shutil.copyfile(self.folder / name, folder / name)

    def embed(self, encoder: TextEncoder, progress: Progress = Silent()) -> None:
        """Compute the vectors that are still missing; what is done stays done if this is interrupted.

        Raises :class:`~pragmatiq_triton.errors.NotFiniteError` for a vector with NaN or infinity, naming its string.
        """
        done = int(self._state["embedded"])
        progress.stage("Embedding distinct strings", len(self))
        progress.advance(done)
        if self.is_complete:
            return
        # An encoder that runs a model can tell whether the model knows such strings before it is run for hours.
        if check := getattr(encoder, "check_texts", None):
            check(sampled(self.texts()))
        vectors = np.lib.format.open_memmap(self.folder / "vectors.npy", "r+")
        while done < len(self):
            texts = self.texts(done, min(done + CHUNK_TEXTS, len(self)))
            computed = encoder.encode(texts)
            require_finite(
                f"vectors of text encoder {encoder.name!r}",
                computed,
                "its model or table is damaged: restore it",
                texts,
            )
            vectors[done : done + len(texts)] = computed
            vectors.flush()
            done += len(texts)
            self._state["embedded"] = done
            _write_state(self.folder, self._state)
            progress.advance(len(texts))
        if cut := strings_cut(encoder):
            logger.warning("%s of %s strings are longer than %r reads, and were cut", cut, len(self), encoder.name)


def _take_room(file: Path) -> None:
    """Have the disk set the file's bytes aside: where it is full a write through the mapping kills the process."""
    with file.open("r+b") as opened:
        if size := file.stat().st_size:
            os.posix_fallocate(opened.fileno(), 0, size)


def _read_state(folder: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    needed = {"encoder", "dim", "revision", "texts_sha256", "embedded", "text_model"}
    return state if isinstance(state, dict) and needed <= state.keys() else None


def _write_state(folder: Path, state: dict[str, Any]) -> None:
    partial = folder / f"{_STATE}.partial"
    partial.write_text(json.dumps(state, indent=1), encoding="utf-8")
    partial.replace(folder / _STATE)
