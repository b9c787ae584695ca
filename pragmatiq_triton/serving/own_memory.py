"""The region in /dev/shm that a model's process shares with the server."""

from contextlib import suppress
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")
_STUB = b"triton_python_backend_stub"


def make_own_region_private() -> None:
    """Let this account alone read the region that this model's requests pass through (0600).

    Triton's Python backend makes it 0644 whatever the umask is, and names it to the process in its command line. Does
    nothing in another process.
    """
    program, *words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    if program.rpartition(b"/")[2] != _STUB:
        return
    for word in words:
        if word and b"/" not in word:
            with suppress(OSError):
                (_SHARED_MEMORY / word.decode("utf-8", "surrogateescape")).chmod(0o600)
