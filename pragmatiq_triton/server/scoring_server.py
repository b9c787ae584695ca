"""The whole server: Triton on loopback, and the gateway in front of it that callers reach."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.gateway.identity import read_identity
from pragmatiq_triton.gateway.owner import Report
from pragmatiq_triton.gateway.policy import GatewayPolicy, check_policy
from pragmatiq_triton.gateway.settings import GatewaySettings, Triton
from pragmatiq_triton.probe import State
from pragmatiq_triton.server.gateway_process import GatewayProcess, require_gateway, require_policy
from pragmatiq_triton.server.kept import unable
from pragmatiq_triton.server.log import gateway_reason
from pragmatiq_triton.server.ports import reserve_ports
from pragmatiq_triton.server.server import TritonServer

DRAIN_SECONDS = 30.0

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05
_LAST_SECONDS = 15.0
"""What the gateway may take beside that, for answers to be read."""


def _never() -> bool:
    return False


class ScoringServer:
    """A model repository served through the gateway, as a context manager.

    When this process ends in whatever way, SIGKILL included, Triton, its models' processes and the gateway are killed.

        with ScoringServer(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
            print(server.http_url)

    Args:
        repository: what ``pragmatiq export`` wrote.
        http_port, grpc_port, metrics_port: the gateway's; 0 means any free port.
        host: IPv4 address that all three listen on. Triton itself listens on 127.0.0.1 alone, on free ports.
        policy: who may call, over what, and how much; by default everybody on loopback, in plain text.
        drain_seconds: how long calls under way have to end once the server is told to stop.
        settings: further arguments of :class:`TritonServer`.

    Raises:
        ArtifactError: the repository holds no ensemble, or has no manifest.
        ConfigError: the policy leaves a ``host`` off loopback open without saying so, or names a file or an issuer that
            cannot be read.
        MissingDependencyError: no complete server environment, or this Python lacks what the gateway needs.
        ServerError: on start, when Triton or the gateway dies or is not ready in time, or a port is taken.
    """

    def __init__(
        self,
        repository: Path,
        *,
        http_port: int = 8000,
        grpc_port: int = 8001,
        metrics_port: int = 8002,
        host: str = "127.0.0.1",
        policy: GatewayPolicy | None = None,
        drain_seconds: float = DRAIN_SECONDS,
        **settings: Any,
    ) -> None:
        settings.setdefault("open_apis", ())
        self.triton = TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, **settings)
        self.repository = self.triton.repository
        read_identity(self.repository)
        require_gateway()
        self._ports = (http_port, grpc_port, metrics_port)
        self._bound = self._ports
        self._host = host
        self.policy = policy or GatewayPolicy()
        check_policy(self.policy, host)
        require_policy(self.policy)
        self._drain_seconds = drain_seconds
        self._gateway: GatewayProcess | None = None

    @property
    def http_url(self) -> str:
        """``host:port`` of the HTTP service."""
        return self._address(0)

    @property
    def grpc_url(self) -> str:
        """``host:port`` of the gRPC service."""
        return self._address(1)

    @property
    def metrics_url(self) -> str:
        """The whole URL of the metrics."""
        return f"http://{self._address(2)}/metrics"

    @property
    def log_path(self) -> Path:
        """The file that holds what Triton and the gateway say; the half before it is ``.1``."""
        return self.triton.log_path

    @property
    def last_words(self) -> str:
        """The last lines of its log, once Triton has ended by itself."""
        return self.triton.last_words

    @property
    def gateway_words(self) -> str:
        """Why the gateway ended, as far as it said so, once Triton has ended too."""
        return gateway_reason(self.triton.log_tail)

    @property
    def gateway_pid(self) -> int:
        """Process id of the gateway."""
        return self._running().process.pid

    def start(self, stopping: Callable[[], bool] = _never) -> Self:
        """Start both and return once the gateway has had an answer from every ensemble.

        :class:`ServerError` soon after ``stopping`` answers true, too.
        """
        # Before the models are loaded, which takes its time.
        reserve_ports(self._host, self._ports)
        self.triton.start(stopping)
        try:
            self._bound = self._start_gateway(stopping)
        except BaseException:
            self.stop(0)
            raise
        return self

    def stop(self, timeout: float | None = None, at_once: Callable[[], bool] = _never) -> bool:
        """Refuse new calls, let those under way end, then stop the gateway and Triton.

        What has not ended after ``timeout`` seconds (the calls' time and some), or once ``at_once`` answers true, is
        killed. Whether every call was answered and both stopped by themselves.
        """
        in_order = self._stop_gateway(timeout, at_once)
        return self.triton.stop(at_once=at_once) and in_order

    def wait(self, timeout: float | None = None) -> int | None:
        """Block until Triton ends by itself or by a signal; its exit code (negative: the signal).

        The gateway has then told its callers that there is no model, and has stopped. None where all still runs after
        ``timeout`` seconds.

        Raises:
            ServerError: the gateway has ended by itself, or has not said anything for a minute.
        """
        gateway = self._running()
        give_up = None if timeout is None else time.monotonic() + timeout
        while self.triton.poll() is None:
            gateway.check()
            gateway.report()
            if give_up is not None and time.monotonic() >= give_up:
                return None
            time.sleep(_POLL_SECONDS)
        self._stop_gateway(None, _never)
        return self.triton.wait()

    def report(self) -> Report | None:
        """What the gateway said last of its models."""
        return self._running().report()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _address(self, service: int) -> str:
        host = "127.0.0.1" if self._host == "0.0.0.0" else self._host
        return f"{host}:{self._bound[service]}"

    def _running(self) -> GatewayProcess:
        if self._gateway is None:
            raise ServerError("the server is not running: call start() or use it as a context manager")
        return self._gateway

    def _start_gateway(self, stopping: Callable[[], bool]) -> tuple[int, int, int]:
        settings = GatewaySettings(
            repository=str(self.repository),
            served=str(self.triton.served),
            triton=Triton(
                http=self.triton.http_url,
                metrics=self.triton.metrics_address,
                boards=str(self.triton.folder),
            ),
            host=self._host,
            http_port=self._ports[0],
            grpc_port=self._ports[1],
            metrics_port=self._ports[2],
            drain_seconds=self._drain_seconds,
            policy=self.policy,
        )
        try:
            self._gateway = GatewayProcess(
                settings, self.triton.server_id, self.triton.folder, self.triton.gateway_output
            )
        except OSError as error:
            raise unable("the gateway cannot be started", error) from error
        deadline = time.monotonic() + _START_SECONDS
        while True:
            report = self._gateway.report()
            if report and report.is_healthy:
                return report.ports
            try:
                self._gateway.check()
            except ServerError as error:
                self.triton.stop()
                raise ServerError(f"{error}:\n{self.gateway_words}") from error
            if stopping():
                raise ServerError("the gateway was told to stop before it was ready")
            if time.monotonic() >= deadline:
                why = [str(each) for each in report.verdicts if each.state is not State.HEALTHY] if report else []
                raise ServerError(f"the gateway was not ready in {_START_SECONDS:g} s{': '.join(['', *why[:1]])}")
            time.sleep(_POLL_SECONDS)

    def _stop_gateway(self, timeout: float | None, at_once: Callable[[], bool]) -> bool:
        if self._gateway is None:
            return True
        gateway, self._gateway = self._gateway, None
        return gateway.stop(self._drain_seconds + _LAST_SECONDS if timeout is None else timeout, at_once) == 0
