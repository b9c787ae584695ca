"""Under the image's flags: who has no key can score and look, and nothing else; who has it can do all."""

import asyncio

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_client import AsyncScoringClient, ScoringClient
from pragmatiq_triton.container.settings import Settings
from pragmatiq_triton.server import TritonServer
from tests.builder.export.heads_case import linear_head, probe, run_with
from tests.conftest import RECORDS

pytestmark = pytest.mark.triton

KEY = "s3cret/Key-1_~"
TASKS = ["churn", "fraud"]
CLOSED = {
    "get_model_config": ["scoring"],
    "get_model_repository_index": [],
    "load_model": ["scoring"],
    "unload_model": ["scoring"],
    "get_inference_statistics": [],
    "get_trace_settings": [],
    "update_trace_settings": ["scoring", {}],
    "get_log_settings": [],
    "update_log_settings": [{}],
    "get_system_shared_memory_status": [],
    "register_system_shared_memory": ["a", "/a", 4],
    "unregister_system_shared_memory": [],
    "get_cuda_shared_memory_status": [],
    "unregister_cuda_shared_memory": [],
}
READING = [name for name in CLOSED if name.startswith("get_") and "cuda" not in name]


@pytest.fixture(scope="module")
def restricted(tmp_path_factory):
    """A server with two tasks and the flags that the image restricts it by."""
    folder = tmp_path_factory.mktemp("restricted")
    run = run_with(folder / "run", "bpe", probe(), linear_head("fraud", "probe", "event"))
    export_repository(run, folder / "repository")
    flags = [flag for flag in Settings(api_key=KEY).command("") if "-restricted-" in flag]
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(folder / "repository", extra_args=flags, **ports) as running:
        yield running


@pytest.fixture(params=["grpc", "http"])
def protocol(request):
    return request.param


@pytest.fixture
def url(restricted, protocol):
    return getattr(restricted, f"{protocol}_url")


@pytest.fixture
def triton(url, protocol):
    """Triton's own client: every call there is, with any header."""
    library = {"grpc": tritonclient.grpc, "http": tritonclient.http}[protocol]
    with library.InferenceServerClient(url) as connected:
        yield connected


@pytest.fixture
def key(protocol):
    return {{"grpc": "triton-grpc-protocol-x-api-key", "http": "x-api-key"}[protocol]: KEY}


def check(one, several):
    """``several`` answers the first records, ``one`` of them asked alone."""
    assert [list(answer.scores) for answer in several] == [TASKS] * len(several)
    assert one.scores == pytest.approx(several[0].scores, abs=1e-6)
    np.testing.assert_allclose(one.embedding, several[0].embedding, rtol=0, atol=1e-6)
    assert all(np.ptp([answer.scores[task] for answer in several]) > 1e-6 for task in TASKS)


@pytest.mark.parametrize("max_batch_size", [None, 64])
def test_scores_come_with_their_names(url, protocol, max_batch_size):
    with ScoringClient(url, protocol=protocol, timeout=60, max_batch_size=max_batch_size) as client:
        check(client.score_one(RECORDS[0]), client.score(RECORDS[:5]))


def test_scores_come_with_their_names_to_asyncio(url, protocol):
    async def ask():
        async with AsyncScoringClient(url, protocol=protocol, timeout=60) as client:
            return await asyncio.gather(client.score_one(RECORDS[0]), client.score(RECORDS[:5]))

    check(*asyncio.run(ask()))


def test_health_and_metadata_are_open(url, protocol, triton):
    with ScoringClient(url, protocol=protocol, timeout=60) as client:
        assert client.is_ready()
        assert client.model_ready()
    assert triton.is_server_live()
    assert triton.get_server_metadata()
    metadata = triton.get_model_metadata("scoring")
    outputs = metadata["outputs"] if protocol == "http" else metadata.outputs
    assert len(outputs) == 3


@pytest.mark.parametrize("call", CLOSED)
def test_all_else_is_refused_without_the_key(triton, key, call):
    wrong = {name: value[:-1] for name, value in key.items()}
    for headers in (None, wrong):
        with pytest.raises(InferenceServerException, match=r"This (API|protocol) is restricted") as caught:
            getattr(triton, call)(*CLOSED[call], headers=headers)
        assert caught.value.status() in ("403", "StatusCode.UNAVAILABLE")


@pytest.mark.parametrize("call", READING)
def test_what_is_closed_opens_with_the_key(triton, key, call):
    getattr(triton, call)(*CLOSED[call], headers=key)
