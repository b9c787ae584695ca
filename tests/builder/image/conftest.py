import docker.api
import docker.utils
import pytest
from docker.errors import DockerException

from tests.builder.image.small_checkout import TAG, make_checkout
from tests.builder.image.stand_in import stand_in_engine


@pytest.fixture
def stand_in(monkeypatch):
    with stand_in_engine() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        yield engine


@pytest.fixture
def docker_engine():
    """The SDK's client of a real engine."""
    try:
        client = docker.api.APIClient(**docker.utils.kwargs_from_env())
    except DockerException:
        pytest.skip("not run: no Docker engine")
    yield client
    for image in client.images(TAG.partition(":")[0]):
        client.remove_image(image["Id"], force=True)
    client.close()


@pytest.fixture(params=["stand_in", "docker_engine"])
def any_engine(request):
    """The stand-in, then a real engine: what holds for both."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def checkout(tmp_path):
    return make_checkout(tmp_path / "checkout")
