"""Locks on folders that are being written: the second writer is refused, and a kill leaves none behind."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pragmatiq_triton.errors import OutputError


@dataclass(slots=True)
class FolderLock:
    """An exclusive lock on a folder itself, held until it is closed or the process ends; it moves with the folder.

    ``found``: the folder was there before the lock was taken.
    """

    path: Path
    found: bool
    _descriptor: int

    @classmethod
    def of(cls, path: Path, what: str, named: Path) -> Self:
        """Lock the folder ``path``; :class:`OutputError`, with the other's process id, where somebody has."""
        return cls(path, True, _lock(path, what, named))

    @classmethod
    def of_new(cls, path: Path, what: str, named: Path) -> Self:
        """Lock the folder ``path``; make it if it is missing."""
        while True:
            try:
                path.mkdir()
                found = False
            except FileExistsError:
                found = True
            try:
                descriptor = _lock(path, what, named)
            except FileNotFoundError:
                continue
            # Between opening and locking it may have become what it was written for.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return cls(path, found, descriptor)
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def _lock(path: Path, what: str, named: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(os.fstat(descriptor))
        os.close(descriptor)
        raise OutputError(
            f"{named}: {holder} is writing this {what}; wait until it has ended, or choose another name"
        ) from None
    except OSError:
        # A file system without locks: nothing tells two writers apart, and one can still write.
        pass
    return descriptor


def _holder(about: os.stat_result) -> str:
    """Who holds a lock, as the kernel tells it; another container's process has no number here."""
    device = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    try:
        locks = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        locks = []
    for fields in map(str.split, locks):
        if "FLOCK" in fields and "->" not in fields and device in fields:
            number = fields[fields.index(device) - 1]
            return f"process {number}" if number not in ("0", "-1") else "another process"
    return "another process"
