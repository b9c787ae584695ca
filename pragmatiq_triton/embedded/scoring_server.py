"""The whole server: Triton on loopback, and the gateway in front of it that callers reach."""

import http.client
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from pragmatiq_triton.embedded.log import end_of
from pragmatiq_triton.embedded.ports import reserve_ports
from pragmatiq_triton.embedded.server import GIVEN_UP, TritonServer, get
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.gateway.settings import GatewaySettings, Limits, Triton

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05
_STOP_SECONDS = 35.0


def _never() -> bool:
    return False


class ScoringServer:
    """A model repository served through the gateway, as a context manager.

    Args:
        repository: what ``pragmatiq export`` wrote.
        http_port, grpc_port, metrics_port: the gateway's; 0 means any free port.
        host: IPv4 address that all three listen on. Triton itself listens on 127.0.0.1 alone, on free ports.
        limits: what one request may be, and how much may be under way.
        settings: further arguments of :class:`TritonServer`.

    Raises:
        ServerError: on start, when Triton or the gateway dies or is not ready in time.
    """

    def __init__(
        self,
        repository: Path,
        *,
        http_port: int = 8000,
        grpc_port: int = 8001,
        metrics_port: int = 8002,
        host: str = "127.0.0.1",
        limits: Limits | None = None,
        **settings: Any,
    ) -> None:
        settings.setdefault("open_apis", ())
        self.triton = TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, **settings)
        self._asked_ports = (http_port, grpc_port, metrics_port)
        self._ports = list(self._asked_ports)
        self._host = host
        self._limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None

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
    def gateway_pid(self) -> int:
        """Process id of the gateway."""
        if self._process is None:
            raise ServerError("the server is not running: call start() or use it as a context manager")
        return self._process.pid

    def start(self, stopping: Callable[[], bool] = _never) -> Self:
        """Start both and return once the gateway answers for every model."""
        self.triton.start(stopping)
        try:
            self._start_gateway(stopping)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Let calls under way end, then stop the gateway and Triton."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self.triton.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _address(self, service: int) -> str:
        host = "127.0.0.1" if self._host == "0.0.0.0" else self._host
        return f"{host}:{self._ports[service]}"

    def _start_gateway(self, stopping: Callable[[], bool]) -> None:
        self._ports = reserve_ports(self._host, self._asked_ports)
        settings = GatewaySettings(
            repository=str(self.triton.repository),
            triton=Triton(
                http=self.triton.http_url,
                metrics=self.triton.metrics_address,
                given_up=str(self.triton.folder / GIVEN_UP),
            ),
            host=self._host,
            http_port=self._ports[0],
            grpc_port=self._ports[1],
            metrics_port=self._ports[2],
            limits=self._limits,
        )
        file = self.triton.folder / "gateway.json"
        file.touch(0o600)
        file.write_bytes(msgspec.json.encode(settings))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pragmatiq_triton.gateway", str(file)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if (code := self._process.poll()) is not None:
                raise ServerError(f"the gateway ended with {end_of(code)}")
            if stopping() or time.monotonic() >= deadline:
                raise ServerError(f"the gateway was not ready in {_START_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)

    def _is_ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            get(self._address(0), "/v2/health/ready")
            return True
        return False
