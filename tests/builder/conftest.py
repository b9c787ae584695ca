import pytest

from tests.builder.upstream_case import UPSTREAM, UpstreamCase


@pytest.fixture(params=["bpe", "embed"])
def upstream(request: pytest.FixtureRequest) -> UpstreamCase:
    return UpstreamCase(UPSTREAM / request.param)
