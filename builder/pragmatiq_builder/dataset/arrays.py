"""Growing ``.npy`` files: arrays longer than memory, written row by row and mapped when read."""

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.errors import ArtifactError


class ArrayFile:
    """An ``.npy`` file that grows along its first axis; a context manager that completes the header on exit."""

    def __init__(self, path: Path, dtype: npt.DTypeLike, row_shape: tuple[int, ...] = ()) -> None:
        self.n_rows = 0
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape
        self._file: BinaryIO = path.open("wb")
        self._write_header()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows of shape [n, *row_shape]; the dtype is converted."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self.n_rows += len(rows)

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # numpy pads the header for a growing first axis, so it can be rewritten in place.
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self.n_rows, *self._row_shape),
            },
        )


def map_array(path: Path) -> npt.NDArray[Any]:
    """Map an ``.npy`` file for reading; an empty array cannot be mapped and is read.

    Raises :class:`ArtifactError` where the file is missing, cut or no array of numbers.
    """
    try:
        try:
            array = np.load(path, mmap_mode="r")
        except ValueError:
            array = np.load(path)
        if not isinstance(array, np.ndarray):
            raise ValueError("several arrays in one file")
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise ArtifactError(
            f"{path}: expected an array of a tokenized data set: {' '.join(str(error).split())}; tokenize again"
        ) from None
    return array
