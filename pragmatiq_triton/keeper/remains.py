"""What a server leaves behind when it is killed, and how it is told from what a living one uses.

A server's id, ``pragmatiq-`` and 12 hexadecimal digits, stands in the command lines of its processes and in the names
of its regions in /dev/shm. Beside them lies ``ID.lock``, locked (flock) as long as its owner or its keeper lives: that
holds across process namespaces which share a /dev/shm, as process ids do not. It names the server's temporary folder.
"""

import fcntl
import os
import re
import shutil
import signal
import stat
import time
import uuid
from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
FOLDER_PREFIX = "pragmatiq-triton-"
GATEWAY = "pragmatiq-gateway"
"""A word of the gateway's command line, whose program is a Python like any other."""

_REAP_SECONDS = 2.0  # killed processes are gone at once, unless they hang in the kernel
_PROGRAMS = (b"tritonserver", b"triton_python_backend_stub")
_LOCK = re.compile(r"(pragmatiq-[0-9a-f]{12})\.lock")


def new_server_id() -> str:
    """An id that no other server has."""
    return f"pragmatiq-{uuid.uuid4().hex[:12]}"


def claim(server_id: str, folder: Path) -> int:
    """Lay down the lock of a server that keeps temporary files in ``folder``; its descriptor, which holds it.

    Raises :class:`OSError` where /dev/shm is full or not there.
    """
    # Locked under another name first: until then it would look like a dead server's.
    unfinished = SHARED_MEMORY / f".{server_id}.lock"
    lock = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, os.fsencode(folder))
        unfinished.rename(_lock_of(server_id))
    except OSError as error:
        os.close(lock)
        unfinished.unlink(missing_ok=True)
        # Writing does not say where.
        error.filename = error.filename or str(unfinished)
        raise
    return lock


def make_regions_private(server_id: str) -> None:
    """Let this account alone read the regions that requests pass through (0600).

    Triton's Python backend makes them 0644 whatever the umask is.
    """
    for region in SHARED_MEMORY.glob(f"{server_id}-*"):
        with suppress(OSError):
            region.chmod(0o600)


def remove(server_id: str, folder: Path | None) -> None:
    """Kill what still runs of the server, and remove its regions, its temporary ``folder`` and its lock."""
    give_up = time.monotonic() + _REAP_SECONDS
    while (alive := processes(server_id)) and time.monotonic() < give_up:
        for pid in alive:
            with suppress(ProcessLookupError, PermissionError):
                # With what they have started themselves: a server is the leader of a session.
                os.killpg(os.getpgid(pid), signal.SIGKILL)
        time.sleep(0.01)
    for region in SHARED_MEMORY.glob(f"{server_id}-*"):
        with suppress(OSError):
            region.unlink()
    if folder and folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        _lock_of(server_id).unlink()


def remove_of_dead_servers() -> list[str]:
    """Remove what this account's servers left whose owner and keeper were killed; their ids."""
    removed = []
    for path in sorted(SHARED_MEMORY.glob("pragmatiq-*.lock")):
        named = _LOCK.fullmatch(path.name)
        try:
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            found = os.fstat(lock)
            if not named or found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(named[1], Path(os.fsdecode(os.read(lock, 4096))))
            removed.append(named[1])
        except OSError:
            continue  # somebody holds it
        finally:
            os.close(lock)
    return removed


def processes(server_id: str) -> list[int]:
    """Ids of this account's processes that run for the server: Triton, its models', and the gateway."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            program, *words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = program.rpartition(b"/")[2] in _PROGRAMS or GATEWAY.encode() in words
            if not ours or entry.stat().st_uid != os.geteuid():
                continue
            if any(server_id.encode() in word for word in words):
                found.append(int(entry.name))
    return found


def _lock_of(server_id: str) -> Path:
    return SHARED_MEMORY / f"{server_id}.lock"
