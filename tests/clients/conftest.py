"""A real server with a small `scoring` model that does what the record asks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pragmatiq_client import AsyncScoringClient, ScoringClient
from pragmatiq_triton.server import ServerEnvironment, TritonServer, find_server_environment
from tests.clients.four import Client
from tests.clients.small import write_small_repository


@pytest.fixture(scope="session")
def environment() -> ServerEnvironment:
    return find_server_environment()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def server(repository: Path, environment: ServerEnvironment) -> Iterator[TritonServer]:
    forward = ["--http-header-forward-pattern=x-.*", "--grpc-header-forward-pattern=x-.*"]
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(repository, environment=environment, extra_args=forward, **ports) as running:
        yield running


KINDS = {"sync": ScoringClient, "async": AsyncScoringClient}


@pytest.fixture(params=[(kind, protocol) for kind in KINDS for protocol in ("grpc", "http")], ids="-".join)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Each of the four clients; blocking calls, whichever kind it is."""
    kind, protocol = request.param
    made = Client(KINDS[kind], protocol)
    yield made
    made.close_all()
    made.loop.close()
