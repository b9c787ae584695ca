"""The owner's end of a gateway: its process, and what it answers when it is asked how the models are."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from pragmatiq_triton.errors import ConfigError, MissingDependencyError, ServerError
from pragmatiq_triton.gateway.owner import MOST_BYTES, QUESTION, Report
from pragmatiq_triton.gateway.policy import GatewayPolicy
from pragmatiq_triton.gateway.seen.access_log import require_writable
from pragmatiq_triton.gateway.settings import GatewaySettings
from pragmatiq_triton.keeper.remains import GATEWAY
from pragmatiq_triton.processes import OWN_FILES_ONLY, raise_open_files_limit
from pragmatiq_triton.server.log import end_of

SILENT_SECONDS = 60.0
"""A gateway that has not answered its owner for so long is given up: it answers in milliseconds, or hangs."""

_ASK_SECONDS = 0.5
_POLL_SECONDS = 0.05
_ROOT = Path(__file__).parents[2]
_NEEDED = (
    "cryptography", "google.protobuf", "grpc", "httptools", "jwt", "prometheus_client", "starlette", "tritonclient",
    "uvicorn", "uvloop"
)  # fmt: skip
_LOOK = (
    "import importlib.util as u, sys\n"
    "def there(name):\n"
    "    try: return u.find_spec(name)\n"
    "    except ModuleNotFoundError: return None\n"
    "print(*[name for name in sys.argv[1:] if not there(name)])"
)
_RUN = (
    f"import sys; sys.path.insert(0, {str(_ROOT)!r}); "
    "from pragmatiq_triton.gateway.__main__ import main; sys.exit(main())"
)
_CHECK = _RUN.replace("gateway.__main__", "gateway.start_check")
# Nothing of the process environment or of the current folder decides what runs.
_ISOLATED = (sys.executable, "-I", *(["-B"] if sys.flags.dont_write_bytecode else []))


def require_gateway() -> None:
    """:class:`MissingDependencyError`, which names what to install, unless a gateway can be started."""
    found = subprocess.run([*_ISOLATED, "-c", _LOOK, *_NEEDED], capture_output=True, encoding="utf-8", check=True)
    if missing := found.stdout.split():
        raise MissingDependencyError(
            f"{sys.executable} has no {', '.join(missing)}, which the gateway needs (PYTHONPATH and what was installed "
            f'for one user do not count): {sys.executable} -m pip install "pragmatiq-triton[gateway]"'
        )


def require_policy(policy: GatewayPolicy, access_log: int | None = None) -> None:
    """Return if a gateway could start with ``policy``: before models are loaded, which takes its time.

    Args:
        policy: an operator's.
        access_log: the descriptor that its ``access_log.file`` means by "-".

    Raises:
        ConfigError: a file of keys or certificates cannot be read or does not fit, the issuer of tokens does not
            answer, or the access log cannot be written.
        MissingDependencyError: traces are on, and OpenTelemetry is not installed.
    """
    require_writable(policy.access_log, access_log)
    if not (policy.tls.certificate or policy.auth.api_keys or policy.auth.jwt or policy.traces.endpoint):
        return
    # By the gateway's own means in a process of its own, which keeps neither its packages nor its threads here.
    done = subprocess.run(
        [*_ISOLATED, "-c", _CHECK], input=msgspec.json.encode(policy), capture_output=True, check=False
    )
    if done.returncode == 0:
        return
    said = done.stderr.decode("utf-8", "replace").strip()
    for kind in (ConfigError, MissingDependencyError):
        if done.returncode == kind.exit_code:
            raise kind(said)
    raise ServerError(f"the gateway's check of its settings ended with {end_of(done.returncode)}:\n{said}")


class GatewayError(ServerError):
    """A gateway that has ended by itself or hangs."""


class GatewayProcess:
    """A running gateway.

    It ends with whoever made it, at the latest when that process is gone.
    """

    def __init__(
        self, settings: GatewaySettings, server_id: str, folder: Path, output: int, access_log: int | None = None
    ) -> None:
        """Start it; ``folder`` is the server's own, ``output`` the descriptor of its standard output and error.

        ``access_log`` is the descriptor that the policy's ``access_log.file`` means by "-".

        Raises:
            OSError: a file or process cannot be made.
        """
        self._link, link = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with link:
            self._link.setblocking(False)
            # A report of hundreds of ensembles is larger than a socket's buffer at first.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
            file = folder / "gateway.json"
            file.touch(0o600)
            told = msgspec.structs.replace(settings, owner=link.fileno(), access_log_output=access_log)
            file.write_bytes(msgspec.json.encode(told))
            self.process = subprocess.Popen(
                [*_ISOLATED, "-c", _RUN, GATEWAY, server_id, str(file)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(link.fileno(), *(() if access_log is None else (access_log,))),
                start_new_session=True,
                umask=OWN_FILES_ONLY,
            )
        raise_open_files_limit(self.process.pid)
        self._asked = -_ASK_SECONDS
        self._heard = time.monotonic()
        self._is_asked = False
        self._report: Report | None = None

    def check(self) -> None:
        """:class:`GatewayError` where it has ended by itself, or has not answered for a minute."""
        if (code := self.process.poll()) is not None:
            raise GatewayError(f"the gateway ended by itself with {end_of(code)}")
        if self._is_asked and time.monotonic() - self._heard > SILENT_SECONDS:
            raise GatewayError(f"the gateway has not answered for {SILENT_SECONDS:g} s")

    def report(self) -> Report | None:
        """What it said last, if anything; never waits.

        Called again and again it asks twice a second.
        """
        with suppress(BlockingIOError, ConnectionError):
            while said := self._link.recv(MOST_BYTES):
                self._report = msgspec.json.decode(said, type=Report)
                self._heard = time.monotonic()
                self._is_asked = False
        now = time.monotonic()
        if not self._is_asked and now - self._asked >= _ASK_SECONDS:
            with suppress(BlockingIOError, ConnectionError):
                self._link.send(QUESTION)
                self._asked = self._heard = now
                self._is_asked = True
        return self._report

    def stop(self, timeout: float, at_once: Callable[[], bool]) -> int:
        """Let calls under way end, ``timeout`` seconds at most and until ``at_once`` answers true; its exit code."""
        self.process.terminate()
        give_up = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < give_up and not at_once():
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_POLL_SECONDS)
        self.process.kill()
        self._link.close()
        return self.process.wait()
