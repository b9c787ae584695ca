"""A ``tritonserver`` process of its own: started, waited for, stopped, and nothing left behind."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pragmatiq_triton.cache_folder import CACHE_FOLDER_VARIABLE
from pragmatiq_triton.drain import Drain
from pragmatiq_triton.embedded.environment import STUB, ServerEnvironment, find_server_environment
from pragmatiq_triton.embedded.log import address_in_use, failure_reason
from pragmatiq_triton.embedded.ports import reserve_ports
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.model_folders import model_names
from pragmatiq_triton.server_flags import server_flags

_SERVICES = ("http", "grpc", "metrics")
_START_ATTEMPTS = 3
_POLL_SECONDS = 0.1
_DRAIN_SECONDS = 5  # for requests in flight; an idle keep-alive HTTP connection uses up all of it
_REAP_SECONDS = 2.0  # killed processes are gone at once, unless nobody reaps orphans (a container without init)
_SHARED_MEMORY = Path("/dev/shm")


class TritonServer:
    """A Triton server over one model repository, as a context manager.

    Args:
        repository: folder of models, each with its ``config.pbtxt``.
        environment: where the server lives; by default :func:`find_server_environment` looks for it.
        http_port, grpc_port, metrics_port: 0 means any free port; see ``http_url``, ``grpc_url``, ``metrics_url``.
        host: IPv4 address that all three listen on.
        log_file: the server's output is appended here; by default it is kept only while the server runs.
        startup_timeout: seconds until every model has to be ready.
        extra_args: further ``tritonserver`` flags.
        cache_folder: where the models keep event vectors between two starts; by default the process environment says.

    Raises:
        ArtifactError: ``repository`` is not a model repository.
        MissingDependencyError: no complete server environment.
        ServerError: on start, when the server dies or is not ready in time; the message holds its reason.
    """

    def __init__(
        self,
        repository: Path,
        *,
        environment: ServerEnvironment | None = None,
        http_port: int = 8000,
        grpc_port: int = 8001,
        metrics_port: int = 8002,
        host: str = "127.0.0.1",
        log_file: Path | None = None,
        startup_timeout: float = 120.0,
        extra_args: Sequence[str] = (),
        cache_folder: Path | None = None,
    ) -> None:
        self.repository = repository.absolute()
        self._models = model_names(self.repository)
        self._environment = environment or find_server_environment()
        self._asked_ports = (http_port, grpc_port, metrics_port)
        self._ports: Sequence[int] = self._asked_ports
        self._host = host
        self._log_file = log_file
        self._startup_timeout = startup_timeout
        self._extra_args = tuple(extra_args)
        self._variables = {CACHE_FOLDER_VARIABLE: str(cache_folder.absolute())} if cache_folder else {}
        self._id = f"pragmatiq-{uuid.uuid4().hex[:12]}"
        self._drain = Drain()
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = ExitStack()

    @property
    def http_url(self) -> str:
        """``host:port`` of the HTTP service, as Triton's clients take it."""
        return self._address(0)

    @property
    def grpc_url(self) -> str:
        """``host:port`` of the gRPC service, as Triton's clients take it."""
        return self._address(1)

    @property
    def metrics_url(self) -> str:
        """The whole URL of the Prometheus metrics."""
        return f"http://{self.metrics_address}/metrics"

    @property
    def metrics_address(self) -> str:
        """``host:port`` of the metrics service."""
        return self._address(2)

    @property
    def pid(self) -> int:
        """Process id of ``tritonserver``; ServerError when it does not run."""
        return self._running().pid

    def start(self) -> Self:
        """Start the server and return once it answers for every model."""
        if self._process is not None:
            raise ServerError(f"the server is already running (pid {self._process.pid})")
        with ExitStack() as cleanup:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pragmatiq-triton-")))
            log = self._log_file or folder / "server.log"
            self._drain = Drain(folder / "drain")
            backends = _backend_folder(self._environment, folder / "backends")
            cleanup.callback(self._kill)
            for attempt in range(1, _START_ATTEMPTS + 1):
                problem = self._launch(backends, log)
                if problem is None:
                    self._cleanup = cleanup.pop_all()
                    return self
                self._kill()
                if attempt == _START_ATTEMPTS or 0 not in self._asked_ports or not address_in_use(problem):
                    break
            raise ServerError(problem)

    def stop(self, timeout: float = 30.0) -> None:
        """Refuse new requests, let those in flight end (5 seconds at most), then stop.

        After ``timeout`` seconds the server and its Python models' processes are killed.
        """
        if self._process is not None:
            self._drain.begin()
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self._cleanup.close()

    def wait(self, timeout: float | None = None) -> int | None:
        """Block until the server ends by itself or by a signal; its exit code (negative: the signal).

        None where it still runs after ``timeout`` seconds.
        """
        try:
            code = self._running().wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        self._cleanup.close()
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _address(self, service: int) -> str:
        host = "127.0.0.1" if self._host == "0.0.0.0" else self._host
        return f"{host}:{self._ports[service]}"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError("the server is not running: call start() or use it as a context manager")
        return self._process

    def _launch(self, backends: Path, log: Path) -> str | None:
        """One attempt to start; None once ready, else why it did not come up."""
        self._ports = reserve_ports(self._host, self._asked_ports)
        with log.open("ab") as output:
            begin = output.tell()
            process = subprocess.Popen(
                self._command(backends),
                env=self._environment.variables() | self._variables | self._drain.variables(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process = process
        deadline = time.monotonic() + self._startup_timeout
        while not self._ready():
            ended = process.poll()
            if ended is None and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                continue
            what = f"was not ready in {self._startup_timeout:g} s" if ended is None else f"ended with exit code {ended}"
            with log.open("rb") as output:
                output.seek(begin)
                reason = failure_reason(output.read().decode("utf-8", "replace"))
            return f"the Triton server over {self.repository} {what}:\n{reason}"
        return None

    def _command(self, backends: Path) -> list[str]:
        return [
            str(self._environment.tritonserver),
            f"--id={self._id}",
            *server_flags(
                self.repository,
                backends,
                shared_memory_prefix=f"{self._id}-",
                drain_seconds=_DRAIN_SECONDS,
                addresses={service: (self._host, port) for service, port in zip(_SERVICES, self._ports, strict=True)},
            ),
            *self._extra_args,
        ]

    def _ready(self) -> bool:
        """Whether this very server, not another one on its port, answers for every model and on every service."""
        paths = ["/v2/health/ready", *(f"/v2/models/{model}/ready" for model in self._models)]
        try:
            metadata = json.loads(_get(self._address(0), "/v2"))
            if metadata["name"] != self._id:
                return False
            for path in paths:
                _get(self._address(0), path)
            _get(self._address(2), "/metrics")
        except (OSError, http.client.HTTPException, ValueError):
            return False
        return True

    def _kill(self) -> None:
        """End what is left of the server's process group and remove its shared memory."""
        process, self._process = self._process, None
        if process is None:
            return
        give_up = time.monotonic() + _REAP_SECONDS
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            while time.monotonic() < give_up:
                os.killpg(process.pid, 0)
                time.sleep(0.01)
        for region in _SHARED_MEMORY.glob(f"{self._id}-*"):
            region.unlink(missing_ok=True)


def _backend_folder(environment: ServerEnvironment, folder: Path) -> Path:
    """Lay out ``--backend-directory``: the Python backend with the stub of this Python, executable."""
    shutil.copytree(environment.python_backend, folder / "python", ignore=shutil.ignore_patterns("__pycache__"))
    stub = shutil.copy(environment.stub, folder / "python" / STUB)
    Path(stub).chmod(0o755)
    return folder


def _get(address: str, path: str) -> bytes:
    """The body of a 200 answer; straight to the address, whatever proxy the process environment names."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200:
            raise http.client.HTTPException(f"{path}: HTTP {response.status}")
        return response.read()
    finally:
        connection.close()
