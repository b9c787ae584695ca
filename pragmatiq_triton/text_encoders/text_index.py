"""Which row of a table a string has: a lookup that is built once, saved, and mapped into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Int64, cu_seqlens
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.text_encoders.protocol import shortened, utf8

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]

_TEXTS, _OFFSETS, _DIGESTS = "texts.bin", "text_offsets.npy", "digests.npy"


class TextIndex:
    """Distinct strings and the rows that they have.

    ``texts`` uint8 holds their UTF-8 end to end, string ``i`` at ``offsets[i]:offsets[i + 1]``; ``digests``
    uint64 [n, 2] pairs a 64-bit BLAKE2b digest with its row, ascending. A digest only says where to look: a row counts
    as found when its bytes are equal, so colliding digests cost time and never a wrong row.
    """

    def __init__(self, texts: UInt8, offsets: Int64, digests: UInt64) -> None:
        self.texts = texts
        self.offsets = offsets
        self.digests = digests
        self._keys = np.ascontiguousarray(digests[:, 0])

    def __len__(self) -> int:
        return len(self.digests)

    @classmethod
    def build(cls, texts: Sequence[str]) -> TextIndex:
        """An index of ``texts``, row by row.

        Raises:
            ArtifactError: A string is there twice.
        """
        encoded = [utf8(text) for text in texts]
        first_rows: dict[bytes, int] = {}
        for row, text in enumerate(encoded):
            first = first_rows.setdefault(text, row)
            if first != row:
                raise ArtifactError(
                    f"a table's strings must differ, {shortened(texts[row])} is in rows {first} and {row}"
                )
        digests = np.stack([_digests(encoded), np.arange(len(encoded), dtype=np.uint64)], axis=1)
        return cls(
            np.frombuffer(b"".join(encoded), np.uint8),
            cu_seqlens([len(text) for text in encoded]),
            digests[np.argsort(digests[:, 0], kind="stable")],
        )

    @classmethod
    def load(cls, folder: Path) -> TextIndex:
        """The index saved in ``folder``, mapped and not read.

        Raises:
            ArtifactError: A file is missing, damaged, or does not fit the others.
        """
        digests = mapped(folder / _DIGESTS)
        offsets = mapped(folder / _OFFSETS)
        path = folder / _TEXTS
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; the table is incomplete, write it again")
        size = path.stat().st_size
        texts = np.asarray(np.memmap(path, np.uint8, mode="r")) if size else np.zeros(0, np.uint8)
        if digests.dtype != np.uint64 or digests.ndim != 2 or digests.shape[1] != 2:
            got = f"{digests.dtype} {list(digests.shape)}"
            raise ArtifactError(f"{folder / _DIGESTS}: expected uint64 [n, 2], got {got}")
        if offsets.dtype != np.int64 or offsets.shape != (len(digests) + 1,) or offsets[-1] != size:
            raise ArtifactError(
                f"{folder / _OFFSETS}: expected int64 [{len(digests) + 1}] that ends at {size}, the bytes of {_TEXTS}; "
                f"got {offsets.dtype} {list(offsets.shape)} that ends at {offsets[-1] if offsets.size else 'nothing'}"
            )
        return cls(texts, offsets, digests)

    def save(self, folder: Path) -> None:
        """Write the index into ``folder``; its digests come last, so that an interrupted table is not read."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _DIGESTS).unlink(missing_ok=True)
        self.texts.tofile(folder / _TEXTS)
        np.save(folder / _OFFSETS, self.offsets)
        np.save(folder / _DIGESTS, self.digests)

    def rows(self, texts: Sequence[str]) -> Int64:
        """The row of each string, int64 [n]; -1 for one that is not here."""
        encoded = [utf8(text) for text in texts]
        wanted = _digests(encoded)
        starts = np.searchsorted(self._keys, wanted, side="left").tolist()
        stops = np.searchsorted(self._keys, wanted, side="right").tolist()
        found = np.full(len(texts), -1, np.int64)
        for i, (text, start, stop) in enumerate(zip(encoded, starts, stops, strict=True)):
            for row in self.digests[start:stop, 1].tolist():
                if self.texts[self.offsets[row] : self.offsets[row + 1]].tobytes() == text:
                    found[i] = row
        return found


def mapped(path: Path) -> npt.NDArray[Any]:
    """The array in a .npy file, mapped into memory.

    Raises:
        ArtifactError: The file is missing or damaged.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; the table is incomplete, write it again") from error
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path}: expected a .npy array, got a file that cannot be read as one: {error}") from error


def _digests(encoded: Sequence[bytes]) -> UInt64:
    joined = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in encoded)
    return np.frombuffer(joined, "<u8").astype(np.uint64, copy=False)
