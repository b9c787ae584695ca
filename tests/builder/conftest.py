import pytest

from tests.builder.image.small_checkout import make_checkout
from tests.builder.image.stand_in import stand_in_engine
from tests.builder.upstream_case import UPSTREAM, UpstreamCase


@pytest.fixture(params=["bpe", "embed"])
def upstream(request: pytest.FixtureRequest) -> UpstreamCase:
    return UpstreamCase(UPSTREAM / request.param)


@pytest.fixture
def stand_in(monkeypatch):
    """What answers where a Docker engine is asked for."""
    with stand_in_engine() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        yield engine


@pytest.fixture
def checkout(tmp_path):
    return make_checkout(tmp_path / "checkout")
