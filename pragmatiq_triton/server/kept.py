"""The owner's end of a server's keeper (:mod:`pragmatiq_triton.keeper`)."""

import fcntl
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.keeper.remains import claim, remove
from pragmatiq_triton.server.log import end_of

_FINISH_SECONDS = 10.0
_ROOT = Path(__file__).parents[2]
_RUN = (
    f"import sys; sys.path.insert(0, {str(_ROOT)!r}); sys.argv[0] = 'pragmatiq-keeper'; "
    "from pragmatiq_triton.keeper.__main__ import main; main()"
)


class Keeper:
    """A process that reads a server's output and removes what is left of the server when this process ends.

    ``server_id`` has to stand in the command line of Triton, of its models' processes and of the gateway. ``output`` is
    what Triton's standard output and error have to be; close it with :meth:`started` once Triton has it.
    ``gateway_output`` is the gateway's; it stays open until :meth:`finish`.
    """

    def __init__(self, server_id: str, folder: Path, log: Path) -> None:
        """Start it; ``folder`` is removed in the end, ``log`` is appended to. :class:`OSError` where it cannot be."""
        self._id = server_id
        self._folder = folder
        lock = _above_standard(claim(self._id, folder))
        read, self.output = map(_above_standard, os.pipe())
        read_gateway, self.gateway_output = map(_above_standard, os.pipe())
        given = (read, read_gateway, lock)
        try:
            words = [self._id, str(folder), str(log), *map(str, given)]
            # Nothing of the process environment or of the current folder decides what runs here.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _RUN, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=given,
                start_new_session=True,
            )
        except OSError:
            self.started()
            os.close(self.gateway_output)
            remove(self._id, folder)
            raise
        finally:
            for descriptor in given:
                os.close(descriptor)

    def started(self) -> None:
        """Let go of ``output``: the server and its models' processes alone hold it now."""
        with suppress(OSError):
            os.close(self.output)

    def check(self) -> None:
        """:class:`ServerError` where it has ended, which it does of itself only after its owner."""
        if (code := self._process.poll()) is not None:
            raise ServerError(
                f"the server's keeper (pid {self._process.pid}) ended with {end_of(code)}, and without it Triton and "
                "the gateway can write no log: serve the repository anew; where nobody killed it, the kernel's log "
                "(dmesg) says whether that was for memory"
            )

    def finish(self) -> str:
        """Have what is left of the server killed and removed; its last lines."""
        with suppress(OSError):
            os.close(self.gateway_output)
        try:
            last, _ = self._process.communicate(timeout=_FINISH_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            last, _ = self._process.communicate()
        # Where the keeper was killed, this is left to do.
        remove(self._id, self._folder)
        return last.decode("utf-8", "replace")


def _above_standard(descriptor: int) -> int:
    """The same file under a number that no standard stream has: where one was closed, its number is given out again."""
    if descriptor > 2:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved


def unable(what: str, error: OSError) -> ServerError:
    """The error of a start that failed at a file of its own."""
    where = f"{error.filename}: " if error.filename else ""
    return ServerError(f"{what}: {where}{error.strerror or error}")
