"""The temporary folder of a server, and its backend."""

import os
import shutil
import tempfile
from pathlib import Path

from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.keeper.remains import FOLDER_PREFIX
from pragmatiq_triton.repository_view import UNSAFE
from pragmatiq_triton.server.environment import STUB, ServerEnvironment


def make_folder() -> Path:
    """A folder (0700) whose path Triton's Python backend can use; :class:`ServerError` where none can be made."""
    problems = []
    for base in dict.fromkeys((_first_choice(), "/tmp", "/var/tmp")):
        if base is None:
            continue
        if UNSAFE.search(base):
            problems.append(f"{base}: its name holds what the server cannot use")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=base))
        except OSError as error:
            problems.append(f"{base}: {error.strerror}")
    raise ServerError(f"no folder for temporary files ({'; '.join(problems)}); name one in TMPDIR")


def lay_out_backend(environment: ServerEnvironment, folder: Path) -> Path:
    """Make ``--backend-directory``: the Python backend with the stub of this Python, as links into the wheel.

    Links, because ``folder`` may be on a file system that nothing may be executed from.
    """
    python = folder / "backends" / "python"
    python.mkdir(parents=True)
    for file in environment.python_backend.iterdir():
        if file.is_file():
            (python / file.name).symlink_to(file)
    stub = python / STUB
    stub.unlink(missing_ok=True)
    if os.access(environment.stub, os.X_OK) and not _forbids_execution(environment.stub):
        stub.symlink_to(environment.stub)
        return python.parent
    shutil.copyfile(environment.stub, stub)
    stub.chmod(0o700)
    if _forbids_execution(folder):
        raise ServerError(
            f"nothing may be executed from {environment.stub} nor from {folder} (noexec), where the models' processes "
            "start from: name a folder on another file system in TMPDIR"
        )
    return python.parent


def _first_choice() -> str | None:
    try:
        return tempfile.gettempdir()
    except OSError:
        return None  # every candidate is full or read-only


def _forbids_execution(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
