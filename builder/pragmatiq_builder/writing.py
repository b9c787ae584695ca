"""Writing that lasts, and what is said where it fails."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pragmatiq_triton.errors import OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PLACE = (*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EBUSY, errno.EXDEV, errno.EFBIG)
_ALMOST_NOTHING = 256 * 1024
"""Bytes that a full disk may still have: libraries give up on a block that does not fit."""


@contextmanager
def write_errors(out: Path) -> Iterator[None]:
    """Turn what the system says while ``out`` is written into one line, :class:`OutputError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _PLACE or (error.errno is None and is_full(out)):
            raise OutputError(_said(out, error)) from error
        raise
    except Exception as error:
        # torch and safetensors raise errors of their own where the disk is full.
        if _is_of_library(error) and (is_full(out) or "No space left on device" in str(error)):
            raise OutputError(_said(out, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))) from error
        raise


def write_file(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all; :class:`OutputError` where it cannot be written."""
    partial = path.with_name(f".{path.name}.partial")
    with write_errors(path):
        try:
            partial.write_bytes(content)
            sync(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of ``path`` at the end of the block; on an error the older one stays.

    A device or a pipe is written to as it is. Raises :class:`OutputError` where it cannot be written.
    """
    place = path.resolve()
    with write_errors(path):
        if place.exists() and not place.is_file():
            with place.open("wb") as file:
                yield file
            return
        partial = place.with_name(f".{place.name}.partial")
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)


def is_full(path: Path) -> bool:
    """Whether the file system of ``path``, which need not exist, has next to nothing left."""
    place = next((parent for parent in (path, *path.absolute().parents) if parent.exists()), Path("/"))
    space = os.statvfs(place)
    return space.f_bavail * space.f_frsize < _ALMOST_NOTHING


def sync_tree(folder: Path) -> None:
    """Bring every file and folder below ``folder`` to the disk."""
    for where, _, names in os.walk(folder):
        for path in (*(Path(where, name) for name in names), Path(where)):
            if path.is_symlink():
                continue
            sync(path)


def sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _said(out: Path, error: OSError) -> str:
    reason = error.strerror or ("No space left on device" if is_full(out) else str(error))
    where = f" ({error.filename})" if error.filename else ""
    remedy = "make room" if error.errno in (*_FULL, None) else "look at the place"
    return f"{out} could not be written: {reason}{where}; what was there is as it was; {remedy} or choose another place"


def _is_of_library(error: Exception) -> bool:
    return isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError"
