"""Vectors computed before, looked up by string."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError
from pragmatiq_triton.finite import require_finite
from pragmatiq_triton.text_encoders.model_folder import check_revision
from pragmatiq_triton.text_encoders.protocol import TextEncoder, TextEncoderSpec, shortened, strings_cut
from pragmatiq_triton.text_encoders.registry import create_text_encoder, register_text_encoder
from pragmatiq_triton.text_encoders.text_index import TextIndex, mapped

Vectors = npt.NDArray[np.float32] | npt.NDArray[np.float16]

_VECTORS = "vectors.npy"
_REMEDY = "compute the vectors again"


class TableEncoder:
    """Vectors of known strings, the table's to the bit; other strings go to ``fallback``.

    Args:
        texts: The table's strings, all different, or an index of them.
        vectors: float32 or float16 [n, dim], row ``i`` for ``texts[i]``; may be mapped from a file.
        fallback: Encodes strings that the table lacks; without one they are an error.

    Raises:
        ArtifactError: A string is there twice, or the vectors do not fit the strings.
        ConfigError: The fallback's vectors are of another length.
    """

    name = "table"

    def __init__(self, texts: Sequence[str] | TextIndex, vectors: Vectors, fallback: TextEncoder | None = None) -> None:
        self._index = texts if isinstance(texts, TextIndex) else TextIndex.build(texts)
        self._vectors = _checked(vectors, len(self._index))
        self._fallback = fallback
        self.dim: int = vectors.shape[1]
        if fallback is not None and fallback.dim != self.dim:
            raise ConfigError(
                f"text encoder 'table': its vectors have {self.dim} numbers, those of its fallback "
                f"{fallback.name!r} have {fallback.dim}; a table and its fallback must come from the same encoder"
            )

    @classmethod
    def load(cls, path: Path, fallback: TextEncoder | None = None) -> TableEncoder:
        """The table at ``path``: a folder of :func:`save_table`, mapped and ready at once, or an .npz file, read whole.

        An .npz file holds ``texts`` (a 0-d array of a JSON list, or a 1-d unicode array, which loses NULs at a string's
        end) and ``vectors``.

        Raises:
            ArtifactError: The table is missing, incomplete or damaged.
            ConfigError: The fallback's vectors are of another length.
        """
        if not path.exists():
            raise ArtifactError(f"{path}: no such text vector table; expected a folder or an .npz file")
        texts: Sequence[str] | TextIndex
        if path.is_dir():
            texts, vectors = TextIndex.load(path), mapped(path / _VECTORS)
        else:
            texts, vectors = read_table(path)  # finite; of a mapped table the rows are looked at that are asked for
        try:
            return cls(texts, vectors, fallback)
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from error

    @cached_property
    def revision(self) -> str:
        """``sha256:`` of the strings and vectors, the same for both forms of a table; read whole when first asked."""
        digest = hashlib.sha256(f"{self._vectors.dtype} {self._vectors.shape}".encode())
        for array in (self._index.offsets, self._index.texts, self._vectors):
            digest.update(np.ascontiguousarray(array).reshape(-1).data)
        return f"sha256:{digest.hexdigest()}"

    @property
    def n_cut(self) -> int:
        """Strings so far that the fallback did not read to their end."""
        return 0 if self._fallback is None else strings_cut(self._fallback)

    def contains(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of ``texts`` the table itself knows: bool [n]."""
        return self._index.rows(texts) >= 0

    def encode(self, texts: Sequence[str]) -> Float32:
        """Vectors of ``texts``: float32 [n, dim].

        Raises:
            DataError: The table lacks a string and there is no fallback.
        """
        rows = self._index.rows(texts)
        lacking = np.flatnonzero(rows < 0).tolist()
        if not lacking:
            return self._vectors[rows].astype(np.float32, copy=False)
        if self._fallback is None:
            raise DataError(
                f"the text vector table of {len(self._index)} strings lacks {shortened(texts[lacking[0]])}"
                f" (and {len(lacking) - 1} more); add it to the table, or name a text_encoder.fallback"
            )
        vectors = np.empty((len(texts), self.dim), np.float32)
        known = rows >= 0
        vectors[known] = self._vectors[rows[known]]
        vectors[lacking] = self._fallback.encode([texts[i] for i in lacking])
        return vectors


def save_table(path: Path, texts: Sequence[str], vectors: Vectors) -> None:
    """Write a table: one .npz file if ``path`` ends so, else a folder that loads at once whatever its size.

    Args:
        path: Where to; its parents are made.
        texts: Strings, all different.
        vectors: float32 or float16 [n, dim], row ``i`` for ``texts[i]``.

    Raises:
        ArtifactError: A string is there twice, the vectors do not fit the strings, or one of them is not finite.
    """
    require_finite(str(path), _checked(vectors, len(texts)), _REMEDY, texts)
    index = TextIndex.build(texts)
    if path.suffix == ".npz":
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, texts=np.array(json.dumps(list(texts))), vectors=vectors)
        return
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / _VECTORS, vectors)
    index.save(path)


def _checked(vectors: npt.NDArray[Any], n_texts: int) -> Vectors:
    if vectors.dtype not in (np.float32, np.float16) or vectors.ndim != 2 or len(vectors) != n_texts:
        raise ArtifactError(
            f"a table's vectors: expected float32 or float16 [{n_texts}, dim], "
            f"got {vectors.dtype} {list(vectors.shape)}"
        )
    return vectors


def read_table(path: Path) -> tuple[list[str], npt.NDArray[Any]]:
    """The strings and the vectors of an .npz file; :class:`ArtifactError` where it is damaged or not all finite."""
    texts, vectors = _read_arrays(path)
    if vectors.ndim == 2 and vectors.dtype.kind == "f" and len(vectors) == len(texts):
        require_finite(f"{path}: vectors", vectors, _REMEDY, texts)
    return texts, vectors


def _read_arrays(path: Path) -> tuple[list[str], npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            texts, vectors = arrays["texts"], arrays["vectors"]
    except KeyError as error:
        raise ArtifactError(f"{path}: expected the arrays 'texts' and 'vectors': {error.args[0]}") from error
    except (BadZipFile, OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path}: expected an .npz file of 'texts' and 'vectors': {error}") from error
    if texts.dtype.kind != "U" or texts.ndim > 1:
        raise ArtifactError(
            f"{path}: texts: expected a JSON list in a 0-d unicode array or a 1-d unicode array, "
            f"got {texts.dtype} {list(texts.shape)}"
        )
    if texts.ndim == 1:
        return texts.tolist(), vectors
    try:
        strings = json.loads(str(texts))
    except ValueError as error:
        raise ArtifactError(f"{path}: texts: expected a JSON list: {error}") from error
    if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
        raise ArtifactError(f"{path}: texts: expected a JSON list of strings")
    return strings, vectors


@register_text_encoder("table")
def _create(spec: TextEncoderSpec, *, device: str, threads: int | None) -> TableEncoder:
    if spec.text_model is None:
        raise ConfigError("text encoder 'table': expected text_encoder.text_model to name its .npz file or folder")
    path = Path(spec.text_model)
    fallback = None
    if spec.fallback is not None:
        # Whoever made the table was asked about the fallback's code too.
        fallback = create_text_encoder(spec.fallback, device=device, threads=threads, trusted=True)
    table = TableEncoder.load(path, fallback)
    if spec.revision is not None:
        check_revision(path, spec.revision, table.revision)
    return table
