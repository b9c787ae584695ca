"""A ``tritonserver`` process of its own: started, waited for, stopped, and nothing left behind."""

import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote

from pragmatiq_triton.boards import SEAL_KEY, create_boards
from pragmatiq_triton.cache.fingerprints import secret
from pragmatiq_triton.cache.folder import CACHE_FOLDER_VARIABLE, make_cache_folder
from pragmatiq_triton.cache.folder import cache_folder as cache_folder_of_process
from pragmatiq_triton.drain import Drain
from pragmatiq_triton.errors import ConfigError, ServerError
from pragmatiq_triton.keeper.log_file import open_log
from pragmatiq_triton.keeper.remains import make_regions_private, new_server_id, remove_of_dead_servers
from pragmatiq_triton.model_folders import model_names
from pragmatiq_triton.processes import OWN_FILES_ONLY, raise_open_files_limit
from pragmatiq_triton.repository_view import VIEW, view_of
from pragmatiq_triton.server.environment import ServerEnvironment, find_server_environment
from pragmatiq_triton.server.flags import restricted_flags, server_flags
from pragmatiq_triton.server.kept import Keeper, unable
from pragmatiq_triton.server.layout import lay_out_backend, make_folder
from pragmatiq_triton.server.log import address_in_use, end_of, failure_reason
from pragmatiq_triton.server.ports import reserve_ports
from pragmatiq_triton.text_encoders.trust import TRUST_VARIABLE, require_trusted_repository

_SERVICES = ("http", "grpc", "metrics")
_START_ATTEMPTS = 3
_POLL_SECONDS = 0.1
_DRAIN_SECONDS = 5  # for requests in flight; an idle keep-alive HTTP connection uses up all of it
_ANSWER_SECONDS = 2.0
_LAST_WORDS = 5
_LOG = "server.log"


class _Started(NamedTuple):
    """A server process with what belongs to it."""

    process: "subprocess.Popen[bytes]"
    keeper: Keeper
    drain: Drain
    log: Path
    folder: Path


def _never() -> bool:
    return False


class TritonServer:
    """A Triton server over one model repository, as a context manager.

    It may be started and stopped in any thread. When this process ends in whatever way, SIGKILL included, the server
    and its models' processes are killed, and what they left in ``/dev/shm`` and in the temporary folder is removed.

    Args:
        repository: folder of models, each with its ``config.pbtxt``.
        environment: where the server lives; by default :func:`find_server_environment` looks for it.
        http_port, grpc_port, metrics_port: 0 means any free port; see ``http_url``, ``grpc_url``, ``metrics_url``.
        host: IPv4 address that all three listen on.
        log_file: the server's output is appended here, 16 MiB at most; by default it is kept only while the server
            runs. See ``log_path``.
        startup_timeout: seconds until every model has to be ready.
        extra_args: further ``tritonserver`` flags; paths in them have to be absolute.
        cache_folder: where the models keep event vectors between two starts; by default the process environment says.
        open_apis: which of :data:`~pragmatiq_triton.server.flags.CLOSED_APIS` are open to everyone; nobody has the key
            of the others. By default the models' configs, from which a client learns how many records a request takes.
        trust_remote_code: the operator's word that code that came with the repository may run; by default the process
            environment says.
        model_settings: an operator's, by model and name, laid over the repository's, which is not written.
        sealed: False has `scorer` and `text_embedder` take tensors of whoever reaches them, for tests of these models.

    Raises:
        ArtifactError: ``repository`` is not a model repository.
        ConfigError: ``log_file`` cannot be written; on start, when the repository would run code unasked.
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
        open_apis: Collection[str] = ("model-config",),
        trust_remote_code: bool = False,
        model_settings: Mapping[str, Mapping[str, str]] | None = None,
        sealed: bool = True,
    ) -> None:
        self.repository = repository.absolute()
        self._models = model_names(self.repository)
        self._environment = environment or find_server_environment()
        self._asked_ports = (http_port, grpc_port, metrics_port)
        self._ports: Sequence[int] = self._asked_ports
        self._host = host
        self._log_file = log_file.absolute() if log_file else None
        self._startup_timeout = startup_timeout
        self._extra_args = tuple(extra_args)
        self._cache_folder = cache_folder.absolute() if cache_folder else None
        self._variables: dict[str, str] = {}
        if trust_remote_code:
            self._variables[TRUST_VARIABLE] = "1"
        self._trusted = trust_remote_code or None
        self._open_apis = tuple(open_apis)
        self._model_settings = model_settings or {}
        self._sealed = sealed
        self._id = new_server_id()
        self._started: _Started | None = None

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
    def server_id(self) -> str:
        """What stands in the command lines of all its processes."""
        return self._id

    @property
    def gateway_output(self) -> int:
        """The descriptor of what a gateway says; it goes into the server's log."""
        return self._running().keeper.gateway_output

    @property
    def pid(self) -> int:
        """Process id of ``tritonserver``; ServerError when it does not run."""
        return self._running().process.pid

    @property
    def log_path(self) -> Path:
        """The file that holds the server's output; the half before it is ``.1``."""
        return self._running().log

    @property
    def served(self) -> Path:
        """The repository as Triton sees it: with an operator's settings, if there are any."""
        view = self.folder / VIEW
        return view if view.exists() else self.repository

    @property
    def folder(self) -> Path:
        """The server's own temporary folder (0700), which is removed with it."""
        return self._running().folder

    def start(self, stopping: Callable[[], bool] = _never) -> Self:
        """Start the server and return once it answers for every model.

        :class:`ServerError` soon after ``stopping`` answers true, too.
        """
        if self._started is not None:
            raise ServerError(f"the server is already running (pid {self.pid})")
        require_trusted_repository(self.repository, self._trusted)
        # What three models would each say in a traceback is one line here.
        cache_folder = (
            make_cache_folder(self._cache_folder, "the cache folder")
            if self._cache_folder
            else cache_folder_of_process()
        )
        secret(cache_folder)
        if cache_folder:
            self._variables[CACHE_FOLDER_VARIABLE] = str(cache_folder.absolute())
        remove_of_dead_servers()
        for attempt in range(1, _START_ATTEMPTS + 1):
            problem = self._launch(stopping)
            if problem is None:
                return self
            if attempt == _START_ATTEMPTS or 0 not in self._asked_ports or not address_in_use(problem) or stopping():
                break
        raise ServerError(problem)

    def stop(self, timeout: float = 30.0, at_once: Callable[[], bool] = _never) -> bool:
        """Refuse new requests, let those in flight end (5 seconds at most), then stop.

        After ``timeout`` seconds, or once ``at_once`` answers true, the server and its Python models' processes are
        killed. Whether it stopped by itself, or did not run.
        """
        if self._started is None:
            return True
        process = self._started.process
        self._started.drain.begin()
        process.send_signal(signal.SIGTERM)
        give_up = time.monotonic() + timeout
        while process.poll() is None and time.monotonic() < give_up and not at_once():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
        by_itself = process.returncode is not None
        self._clear()
        return by_itself

    def poll(self) -> int | None:
        """The exit code of a server that has ended (negative: the signal), before :meth:`wait` clears up behind it.

        :class:`ServerError` where its keeper has ended.
        """
        # First: a server that finds no reader of its log ends with it.
        self._running().keeper.check()
        return self._running().process.poll()

    def wait(self, timeout: float | None = None) -> int | None:
        """Block until the server ends by itself or by a signal; its exit code (negative: the signal).

        None where it still runs after ``timeout`` seconds. :class:`ServerError` where its keeper has ended, which takes
        the server along: its exit code then says nothing.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if give_up is not None and time.monotonic() >= give_up:
                return None
            left = _POLL_SECONDS if give_up is None else min(_POLL_SECONDS, max(give_up - time.monotonic(), 0))
            with suppress(subprocess.TimeoutExpired):
                self._running().process.wait(left)
        self.last_words = "\n".join(self._clear().rstrip().splitlines()[-_LAST_WORDS:])
        return code

    last_words = ""
    """The last five lines of its log, once it has ended by itself."""

    log_tail = ""
    """The last lines of its log, a thousand at most, once it has ended."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _address(self, service: int) -> str:
        host = "127.0.0.1" if self._host == "0.0.0.0" else self._host
        return f"{host}:{self._ports[service]}"

    def _running(self) -> _Started:
        if self._started is None:
            raise ServerError("the server is not running: call start() or use it as a context manager")
        return self._started

    def _launch(self, stopping: Callable[[], bool]) -> str | None:
        """One attempt to start; None once ready, else why it did not come up."""
        self._ports = reserve_ports(self._host, self._asked_ports)
        folder = make_folder()
        log = self._log_file or folder / _LOG
        keeper = _keeper(self._id, folder, log)
        try:
            drain = Drain(folder / "drain")
            process = self._spawn(keeper, drain, folder)
        except BaseException:
            keeper.finish()
            raise
        finally:
            keeper.started()
        self._started = _Started(process, keeper, drain, log, folder)
        raise_open_files_limit(process.pid)
        what = self._until_ready(process, stopping)
        if what is None:
            return None
        reason = failure_reason(self._clear().replace(str(folder / VIEW), str(self.repository)))
        return f"the Triton server over {self.repository} {what}" + (f":\n{reason}" if reason else "")

    def _spawn(self, keeper: Keeper, drain: Drain, folder: Path) -> "subprocess.Popen[bytes]":
        try:
            backends = lay_out_backend(self._environment, folder)
            of_server = {**create_boards(folder), **drain.variables()}
            if not self._sealed:
                del of_server[SEAL_KEY]
            return subprocess.Popen(
                self._command(view_of(self.repository, folder, self._model_settings), backends),
                env=self._environment.variables() | self._variables | of_server,
                # Its models' processes import from the current folder first: in the caller's anything may lie.
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=keeper.output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=OWN_FILES_ONLY,
            )
        except OSError as error:
            raise unable("the server cannot be started", error) from error

    def _until_ready(self, process: "subprocess.Popen[bytes]", stopping: Callable[[], bool]) -> str | None:
        """None once every model answers; else what came instead."""
        deadline = time.monotonic() + self._startup_timeout
        while not self._ready():
            make_regions_private(self._id)
            try:
                code = self.poll()
            except ServerError as error:
                return f"cannot go on: {error}"
            if code is not None:
                return f"ended with {end_of(code)}"
            if stopping():
                return "was told to stop before it was ready"
            if time.monotonic() >= deadline:
                return f"was not ready in {self._startup_timeout:g} s"
            time.sleep(_POLL_SECONDS)
        make_regions_private(self._id)
        return None

    def _command(self, repository: Path, backends: Path) -> list[str]:
        # Nobody knows the key.
        closed = restricted_flags(secrets.token_urlsafe(32), self._extra_args, self._open_apis)
        return [
            str(self._environment.tritonserver),
            f"--id={self._id}",
            *server_flags(
                repository,
                backends,
                shared_memory_prefix=f"{self._id}-",
                drain_seconds=_DRAIN_SECONDS,
                addresses={service: (self._host, port) for service, port in zip(_SERVICES, self._ports, strict=True)},
            ),
            *closed,
            *self._extra_args,
        ]

    def _ready(self) -> bool:
        """Whether this very server, not another one on its port, answers for every model and on every service."""
        paths = ["/v2/health/ready", *(f"/v2/models/{quote(model)}/ready" for model in self._models)]
        try:
            metadata = json.loads(get(self._address(0), "/v2"))
            if metadata["name"] != self._id:
                return False
            for path in paths:
                get(self._address(0), path)
            get(self._address(2), "/metrics")
        except (OSError, http.client.HTTPException, ValueError):
            return False
        return True

    def _clear(self) -> str:
        """Kill what is left of the server's processes and remove its files; the last lines of its log."""
        started = self._running()
        self._started = None
        with suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)
        self.log_tail = started.keeper.finish()
        started.process.wait()
        return self.log_tail


def _keeper(server_id: str, folder: Path, log: Path) -> Keeper:
    try:
        os.close(open_log(log))
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(f"the log {log} cannot be written: {error.strerror}; name another file") from error
    try:
        return Keeper(server_id, folder, log)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise unable("the server's keeper cannot be started", error) from error


def get(address: str, path: str) -> bytes:
    """The body of a 200 answer; straight to the address, whatever proxy the process environment names."""
    connection = http.client.HTTPConnection(address, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200:
            raise http.client.HTTPException(f"{path}: HTTP {response.status}")
        return response.read()
    finally:
        connection.close()
