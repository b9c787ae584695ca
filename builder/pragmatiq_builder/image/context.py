"""The archives that a Docker engine builds from, read from disk while they are sent."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from tarfile import DIRTYPE, TarInfo

from docker.utils import exclude_paths

from pragmatiq_builder.image.source import DOCKERFILE
from pragmatiq_builder.progress import Progress
from pragmatiq_triton.errors import ArtifactError

CHUNK = 1 << 20
_BLOCK = 512


def checkout_files(source: Path) -> dict[str, Path]:
    """What ``.dockerignore`` leaves of a checkout, by the name in the archive; not the Dockerfile itself."""
    ignore = source / ".dockerignore"
    lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    kept = exclude_paths(str(source), patterns, dockerfile=DOCKERFILE)
    return {name: source / name for name in sorted(kept - {DOCKERFILE, ".dockerignore"})}


def folder_files(folder: Path, root: str) -> dict[str, Path]:
    """Everything below ``folder`` but hidden names, by the name in the archive, which begins with ``root``.

    Links are followed, since a hub's snapshot is links to files that lie elsewhere.
    """
    files = {root: folder}
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in (*folders, *sorted(names)):
            if not name.startswith("."):
                path = Path(where, name)
                files[f"{root}/{path.relative_to(folder).as_posix()}"] = path
    return files


def tar_stream(dockerfile: str, files: Mapping[str, Path], title: str, progress: Progress) -> Iterator[bytes]:
    """A tar archive of ``dockerfile`` under its name and of ``files``, in pieces of at most a mebibyte.

    Everything belongs to root and may be read by everyone, whoever's files they are and whatever the umask was: the
    image's own user has to read them. Raises :class:`ArtifactError` for a file that cannot be read.
    """
    info = TarInfo(DOCKERFILE)
    text = dockerfile.encode()
    info.size = len(text)
    yield info.tobuf() + _padded(text)
    progress.stage(title, len(files))
    for name, path in files.items():
        progress.advance(0, name)
        try:
            yield from _member(name, path)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be put into the image: {error.strerror}") from None
        progress.advance(1)
    yield bytes(2 * _BLOCK)


def _member(name: str, path: Path) -> Iterator[bytes]:
    about = path.stat()
    info = TarInfo(name)
    info.mtime = int(about.st_mtime)
    if stat.S_ISDIR(about.st_mode):
        info.type = DIRTYPE
        info.mode = 0o755
        yield info.tobuf()
        return
    if not stat.S_ISREG(about.st_mode):
        raise ArtifactError(f"{path} cannot be put into the image: it is neither a file nor a folder")
    info.mode = 0o755 if about.st_mode & stat.S_IXUSR else 0o644
    with path.open("rb") as file:
        info.size = left = os.fstat(file.fileno()).st_size
        yield info.tobuf()
        while left:
            chunk = file.read(min(left, CHUNK))
            if not chunk:
                raise ArtifactError(f"{path} became shorter while it was sent; build again")
            left -= len(chunk)
            yield chunk
    yield bytes(-info.size % _BLOCK)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _BLOCK)
