import os
import signal
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from pragmatiq_triton.errors import ArtifactError, ServerError
from pragmatiq_triton.server import ServerEnvironment, TritonServer, find_server_environment, server

pytestmark = pytest.mark.triton

MakeRepository = Callable[..., Path]


@pytest.fixture(scope="module")
def environment() -> ServerEnvironment:
    return find_server_environment()


def start(repository: Path, environment: ServerEnvironment, **options: object) -> TritonServer:
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    return TritonServer(repository, environment=environment, **(ports | options))


def double(client: ModuleType, url: str) -> np.ndarray:
    x = np.array([[1.0, -2.5]], np.float32)
    tensor = client.InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    with client.InferenceServerClient(url) as connection:
        return connection.infer("doubling", [tensor]).as_numpy("y")


def processes_of_group(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def shared_memory(running: TritonServer) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{running._id}-*"))


def test_two_servers_answer_and_leave_nothing(doubling: Path, environment: ServerEnvironment) -> None:
    with start(doubling, environment) as first, start(doubling, environment) as second:
        for running in (first, second):
            assert double(tritonclient.http, running.http_url).tolist() == [[2.0, -5.0]]
            assert double(tritonclient.grpc, running.grpc_url).tolist() == [[2.0, -5.0]]
            assert shared_memory(running)
        assert first.pid != second.pid
        with urllib.request.urlopen(second.metrics_url) as metrics:
            assert b'nv_inference_request_success{model="doubling"' in metrics.read()
        groups = [first.pid, second.pid]
        assert all(len(processes_of_group(group)) >= 2 for group in groups)
    assert not any(processes_of_group(group) for group in groups)
    assert not shared_memory(first) + shared_memory(second)
    with pytest.raises(ServerError, match="not running"):
        _ = first.pid


def test_model_that_does_not_load(
    make_repository: MakeRepository, environment: ServerEnvironment, tmp_path: Path
) -> None:
    repository = make_repository(broken="raise ValueError('weights are missing')")
    log = tmp_path / "server.log"
    failing = start(repository, environment, log_file=log)
    with pytest.raises(ServerError, match=r"exit code 1:\nfailed to load 'broken'.*weights are missing"):
        failing.start()
    assert "weights are missing" in log.read_text(encoding="utf-8")
    assert not shared_memory(failing)


def test_slow_model_runs_into_the_startup_timeout(
    make_repository: MakeRepository, environment: ServerEnvironment
) -> None:
    slow = start(make_repository(slow="import time\ntime.sleep(600)"), environment, startup_timeout=1.0)
    with pytest.raises(ServerError, match="was not ready in 1 s"):
        slow.start()
    assert not shared_memory(slow)


def test_killed_server_is_cleaned_up(doubling: Path, environment: ServerEnvironment) -> None:
    running = start(doubling, environment).start()
    group = running.pid
    assert running.wait(timeout=0.1) is None
    os.kill(group, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not processes_of_group(group)
    assert not shared_memory(running)


def test_stop_kills_after_its_timeout(make_repository: MakeRepository, environment: ServerEnvironment) -> None:
    stuck = "class TritonPythonModel:\n    def finalize(self):\n        import time\n        time.sleep(600)\n"
    running = start(make_repository(stuck=stuck), environment).start()
    group = running.pid
    running.stop(timeout=0.5)
    assert not processes_of_group(group)
    assert not shared_memory(running)


def test_port_taken_between_reserving_and_starting(
    doubling: Path, environment: ServerEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        reserve = server.reserve_ports
        answers = iter([[*reserve("127.0.0.1", [0, 0]), other.getsockname()[1]]])
        monkeypatch.setattr(server, "reserve_ports", lambda host, ports: next(answers, None) or reserve(host, ports))
        with start(doubling, environment) as running:
            assert double(tritonclient.http, running.http_url).tolist() == [[2.0, -5.0]]


def test_extra_args_reach_the_server(doubling: Path, environment: ServerEnvironment) -> None:
    restricted = ["--http-restricted-api=statistics:key=value"]
    with (
        start(doubling, environment, extra_args=restricted) as running,
        tritonclient.http.InferenceServerClient(running.http_url) as connection,
        pytest.raises(tritonclient.http.InferenceServerException, match="restricted"),
    ):
        connection.get_inference_statistics("doubling")


def test_fixed_port_in_use(doubling: Path, environment: ServerEnvironment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}"):
            start(doubling, environment, http_port=port).start()


def test_repository_is_checked_before_anything_starts(environment: ServerEnvironment, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        TritonServer(tmp_path / "nowhere", environment=environment)
