"""The one way to replace a folder as a whole: what was there stays until what replaces it is complete.

The new folder is written beside the old one, as ``.NAME.new``, and the two change places in one step (Linux's
RENAME_EXCHANGE; two renames, undone at the next start if a kill fell between them, where the file system lacks it).
Only then is the old one removed. Whoever writes holds a lock on ``.NAME.new``: a second writer is refused, and what a
kill left there is recognised by its free lock and removed at the next start.
"""

import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pragmatiq_builder.locking import FolderLock
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.writing import sync, sync_tree, write_errors
from pragmatiq_triton.errors import ConfigError

_EXCHANGE = 2
_AT_FDCWD = -100


@contextmanager
def replaced_folder(
    out: Path,
    what: str,
    require_ours: Callable[[Path], None],
    *,
    room: int = 0,
    keeps: Collection[str] = (),
    progress: Progress = Silent(),
) -> Iterator[Path]:
    """An empty folder to write into, which takes the place of ``out`` at the end of the block; none of it on an error.

    ``what`` it is, for messages; ``require_ours`` raises where the folder that is there must not be replaced; ``room``:
    bytes that the new folder takes, if known. Entries named in ``keeps`` stay in the unfinished folder on an error, and
    are there when the same ``out`` is written again. A symbolic link stays: the folder that it points to is replaced.

    Raises :class:`ConfigError` before the block where ``out`` cannot be replaced (a mount point, a file, no permission,
    too little room), and :class:`OutputError` where another process writes there or writing fails.
    """
    place = _place_of(out)
    made = _make_parents(out, place)
    try:
        _require_replaceable(out, place, what, room)
        new, old = (place.parent / f".{place.name}.{state}" for state in ("new", "old"))
        with write_errors(out), FolderLock.of_new(new, what, out) as lock:
            try:
                _recover(place, old, progress)
                if place.exists():
                    require_ours(place)
                if lock.found and _emptied(new, keeps):
                    progress.say(f"removed what an interrupted run left in {new}")
                yield new
                if place.exists():
                    new.chmod(stat.S_IMODE(place.stat().st_mode))
                sync_tree(new)
                _exchange(place, new, old, what, out)
            except BaseException:
                _emptied(new, keeps)
                # What is kept stays, and so does its folder.
                with suppress(OSError):
                    new.rmdir()
                raise
            left = [path for path in (new, old) if path.exists() and not _removed(path)]
        if place != out.absolute() and out.is_symlink():
            progress.say(f"{out} is a symbolic link, and stays one: {place} was written")
        for path in left:
            progress.say(f"what was replaced could not be removed: {path}; remove it yourself")
    except BaseException:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        raise


def mount_points() -> set[Path]:
    """Where file systems and folders are mounted, bind mounts included."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    escaped = (line.split(" ")[4] for line in lines)
    return {Path(_unescaped(path)) for path in escaped}


def _unescaped(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


def _place_of(out: Path) -> Path:
    try:
        return out.resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{out}: symbolic links that lead nowhere: {error}; choose another --out") from None


def _make_parents(out: Path, place: Path) -> list[Path]:
    """Make the folders above ``place``; returns those that were made, the innermost first."""
    missing = [parent for parent in place.parents if not parent.exists()]
    made: list[Path] = []
    for parent in reversed(missing):
        try:
            parent.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{out}: {parent} cannot be made: {error.strerror}; choose another --out") from None
        made.insert(0, parent)
    return made


def _require_replaceable(out: Path, place: Path, what: str, room: int) -> None:
    named = str(out) if place == out.absolute() else f"{out} ({place})"
    if place.exists() and not place.is_dir():
        raise ConfigError(f"{named} is a file, expected a folder to write the {what} to; choose another --out")
    if not place.parent.is_dir():
        raise ConfigError(f"{named}: {place.parent} is no folder; choose another --out")
    for mounted in mount_points():
        if mounted == place:
            raise ConfigError(
                f"{named} is a mount point, which cannot be replaced as a whole; give a folder below it, such as "
                f"{out / what.split()[-1]}"
            )
        if mounted.is_relative_to(place):
            raise ConfigError(
                f"{named}: another file system is mounted in it, at {mounted}; unmount it or choose another --out"
            )
    if place.exists() and place.stat().st_dev != place.parent.stat().st_dev:
        raise ConfigError(f"{named} lies on another file system than its parent; give a folder below it")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        state = "read-only" if os.statvfs(place.parent).f_flag & os.ST_RDONLY else "not yours to write"
        raise ConfigError(
            f"{named}: the {what} is written beside its place, and {place.parent} is {state}; choose another --out"
        )
    _require_own_in_sticky(named, place)
    space = os.statvfs(place.parent)
    if (free := space.f_bavail * space.f_frsize) < room:
        raise ConfigError(
            f"{named}: the {what} takes about {_bytes(room)} beside what is there, and {place.parent} has "
            f"{_bytes(free)} free; make room or choose another --out"
        )


def _require_own_in_sticky(named: str, place: Path) -> None:
    """In a folder like /tmp only the owner of a folder may rename it."""
    parent, user = place.parent.stat(), os.geteuid()
    if parent.st_mode & stat.S_ISVTX and place.exists() and user not in (0, parent.st_uid, place.stat().st_uid):
        raise ConfigError(f"{named} belongs to another user, who alone may replace it; choose another --out")


def _recover(place: Path, old: Path, progress: Progress) -> None:
    """Undo a replacement that a kill cut in two."""
    if not old.is_dir():
        return
    if place.exists():
        _removed(old)
        return
    old.rename(place)
    progress.say(f"{place} was put back: a kill had cut its replacement in two")


def _exchange(place: Path, new: Path, old: Path, what: str, out: Path) -> None:
    if not place.exists():
        new.rename(place)
    else:
        with FolderLock.of(place, what, out):
            if not _exchanged(new, place):
                place.rename(old)
                try:
                    new.rename(place)
                except BaseException:
                    old.rename(place)
                    raise
            # Still under its lock, so that nobody takes it for what a kill left.
            sync(place.parent)
            _removed(new if new.exists() else old)
    sync(place.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the two have changed places; False where the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(error, os.strerror(error), str(other))


def _emptied(folder: Path, keeps: Collection[str]) -> bool:
    """Remove what ``folder`` holds but for ``keeps``; whether there was something to remove."""
    if not folder.is_dir():
        return False
    entries = [entry for entry in folder.iterdir() if entry.name not in keeps]
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with suppress(OSError):
                entry.unlink()
    return bool(entries)


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _bytes(n: int) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"
