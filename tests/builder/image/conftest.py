import docker.api
import docker.utils
import pytest
from docker.errors import DockerException

from tests.builder.image.small_checkout import TAG


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
