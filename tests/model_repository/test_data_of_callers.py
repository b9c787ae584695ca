"""What passes through the embedded server is nobody else's to read or to change."""

import resource
import threading

import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from pragmatiq_client import ScoringClient
from pragmatiq_triton.keeper.remains import SHARED_MEMORY
from tests.conftest import RECORDS
from tests.model_repository.test_restricted import CLOSED

pytestmark = pytest.mark.triton


def test_no_file_of_the_server_is_readable_by_others_while_requests_run(server):
    modes = {}
    done = threading.Event()

    def look():
        while not done.is_set():
            for file in [*SHARED_MEMORY.glob(f"{server._id}*"), server.log_path, server.log_path.parent]:
                modes[file] = modes.get(file, 0) | file.stat().st_mode & 0o777

    looking = threading.Thread(target=look)
    looking.start()
    with ScoringClient(server.grpc_url, timeout=60) as client:
        for _ in range(3):
            client.score(RECORDS)
    done.set()
    looking.join()
    assert len(modes) >= 5
    assert {file: mode for file, mode in modes.items() if mode & 0o077} == {}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_health_metadata_and_configs_are_open_and_all_else_is_closed_to_everyone(server, protocol):
    library = {"grpc": tritonclient.grpc, "http": tritonclient.http}[protocol]
    with library.InferenceServerClient(getattr(server, f"{protocol}_url")) as triton:
        assert triton.is_server_ready()
        assert triton.get_model_metadata("scoring")
        assert triton.get_model_config("scoring")
        for call, arguments in CLOSED.items():
            if call == "get_model_config":
                continue
            with pytest.raises(InferenceServerException, match=r"This (API|protocol) is restricted"):
                getattr(triton, call)(*arguments)


def test_the_server_may_open_as_many_files_as_the_hard_limit_allows(server):
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert soft == min(hard, 1 << 20) or hard == resource.RLIM_INFINITY
