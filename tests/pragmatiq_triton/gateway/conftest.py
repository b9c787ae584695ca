"""Gateways with policies of their own, in front of the one Triton that the tests share."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pragmatiq_triton.gateway.policy import GatewayPolicy
from pragmatiq_triton.gateway.settings import GatewaySettings, Triton
from pragmatiq_triton.probe import State
from pragmatiq_triton.server import TritonServer
from pragmatiq_triton.server.gateway_process import GatewayProcess


@dataclass
class Gateway:
    """A gateway that runs; ``log`` is what it has said."""

    process: GatewayProcess
    ports: tuple[int, int, int]
    log_file: Path

    @property
    def http_url(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def grpc_url(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[2]}/metrics"

    @property
    def log(self) -> str:
        return self.log_file.read_text()


StartGateway = Callable[..., Gateway]


@pytest.fixture(scope="module")
def start_gateway(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Starts gateways; they end with the module's tests."""
    started: list[Gateway] = []

    def start(policy: GatewayPolicy, triton: str | None = None) -> Gateway:
        folder = tmp_path_factory.mktemp("gateway")
        log = folder / "log"
        settings = GatewaySettings(
            repository=str(server.repository),
            served=str(server.served),
            triton=Triton(http=triton or server.http_url, metrics=server.metrics_address, boards=str(server.folder)),
            http_port=0,
            grpc_port=0,
            metrics_port=0,
            policy=policy,
        )
        with log.open("wb") as output:
            process = GatewayProcess(settings, server.server_id, folder, output.fileno())
        give_up = time.monotonic() + 30
        while (report := process.report()) is None or any(each.state is not State.HEALTHY for each in report.verdicts):
            assert process.process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, report
            time.sleep(0.02)
        started.append(Gateway(process, report.ports, log))
        return started[-1]

    yield start
    for each in started:
        each.process.stop(5, lambda: False)


@pytest.fixture
def replaced() -> Callable[[Path, bytes], None]:
    """Writes a file anew, as those do who rotate keys: beside it, then over it."""

    def replace(file: Path, content: bytes) -> None:
        new = file.with_name(f"{file.name}.new")
        new.write_bytes(content)
        new.replace(file)

    return replace
