"""``pragmatiq serve`` with the gateway in front: what ends, who says so, and what callers get."""

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.serving.processes import commands, tree
from pragmatiq_triton.errors import ConfigError, MissingDependencyError, ServerError
from pragmatiq_triton.gateway.policy import GatewayPolicy
from pragmatiq_triton.server import ScoringServer, gateway_process
from tests.pragmatiq_triton.calls import over_grpc, over_http
from tests.pragmatiq_triton.gateway.authority import Authority
from tests.pragmatiq_triton.server.test_ends import Serving, serving, until

pytestmark = pytest.mark.triton

HAND_MADE = ("--skip-verification",)
PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


Calls = tuple["Future[tuple[int, str]]", "Future[str]"]


def under_way(threads: ThreadPoolExecutor, run: Serving, seconds: float, folder: Path) -> tuple[Calls, set[int]]:
    """A call over each protocol that the models are at, and the processes that are."""
    at_work = folder / "at_work"
    at_work.mkdir()
    record = {"sleep": seconds, "tell": str(at_work)}
    calls = (
        threads.submit(over_http, run.urls["http"], **record),
        threads.submit(over_grpc, run.urls["grpc"], **record),
    )
    until(lambda: len(list(at_work.iterdir())) == 2)
    return calls, {int(file.name) for file in at_work.iterdir()}


def told_at_once(run: Serving) -> str:
    """The line that says why it stops, before calls under way have ended."""
    assert run.process.stderr is not None
    return next(line for line in run.process.stderr if line.startswith("stopping"))


def test_told_to_stop_it_refuses_new_calls_and_answers_those_under_way(
    sleeping: Path, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Where modules of the gateway's lie in the current folder and in PYTHONPATH, too: none of them counts."""
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    elsewhere = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(tmp_path)}}
    with serving(sleeping, options=HAND_MADE, **elsewhere) as run:
        run.ready()
        assert run.gateway
        kept = http.client.HTTPConnection(run.urls["http"], timeout=10)
        kept.request("GET", "/v2/health/ready")
        assert kept.getresponse().read() == b""
        calls, _ = under_way(threads, run, 4, tmp_path)
        run.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        kept.request("GET", "/v2/health/ready")
        answer = kept.getresponse()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert answer.read() == b'{"error":"the server is stopping"}'
        assert over_http(run.urls["http"])[0] == 503
        assert over_grpc(run.urls["grpc"]) == "StatusCode.UNAVAILABLE"
        assert calls[0].result()[0] == 200
        assert calls[1].result() == "answered"
        err = run.end()
    assert run.process.returncode == 0, err
    run.nothing_is_left()


def test_a_second_signal_gives_calls_up(sleeping: Path, threads: ThreadPoolExecutor) -> None:
    with serving(sleeping, options=HAND_MADE) as run:
        run.ready()
        call = threads.submit(over_grpc, run.urls["grpc"], sleep=60)
        time.sleep(1)
        run.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert run.process.poll() is None
        run.process.send_signal(signal.SIGTERM)
        err = run.end()
    assert run.process.returncode == 130, err
    assert call.result() == "StatusCode.UNAVAILABLE"
    run.nothing_is_left()


def test_the_gateways_end_is_told(sleeping: Path) -> None:
    with serving(sleeping, options=HAND_MADE) as run:
        run.ready()
        os.kill(run.gateway, signal.SIGKILL)
        assert told_at_once(run) == "stopping: the gateway ended by itself with SIGKILL (signal 9)\n"
        run.end()
    assert run.process.returncode == 6
    run.nothing_is_left()


def test_the_keepers_end_is_told_and_not_blamed_on_triton(sleeping: Path) -> None:
    with serving(sleeping, options=HAND_MADE) as run:
        run.ready()
        [keeper] = [pid for pid, words in commands(run.process.pid).items() if "pragmatiq-keeper" in " ".join(words)]
        os.kill(keeper, signal.SIGKILL)
        told = f"the server's keeper (pid {keeper}) ended with SIGKILL (signal 9), and without it"
        assert told in told_at_once(run)
        assert "Triton ended" not in run.end()
    assert run.process.returncode == 6
    run.nothing_is_left()


def test_tritons_end_is_told_and_its_callers_are_answered(
    sleeping: Path, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    with serving(sleeping, options=HAND_MADE) as run:
        run.ready()
        calls, _ = under_way(threads, run, 30, tmp_path)
        os.kill(run.group, signal.SIGKILL)
        assert calls[0].result()[0] == 503
        assert calls[1].result() == "StatusCode.UNAVAILABLE"
        assert "Triton ended by itself with SIGKILL (signal 9)" in run.end()
    assert run.process.returncode == 6
    run.nothing_is_left()


def test_the_end_of_a_models_process_is_told_and_the_calls_of_others_are_answered(
    sleeping: Path, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    with serving(sleeping, options=HAND_MADE) as run:
        run.ready()
        calls, at_work = under_way(threads, run, 6, tmp_path)
        third = threads.submit(over_http, run.urls["http"], sleep=6, tell=str(tmp_path))
        until(lambda: any(file.name.isdigit() for file in tmp_path.iterdir()))
        (busy,) = set(tree(run.group)[1:]) - at_work
        os.kill(busy, signal.SIGKILL)
        assert "scorer: Stub process 'scorer_0_" in told_at_once(run)
        assert third.result()[0] == 503
        assert calls[0].result()[0] == 200
        assert calls[1].result() == "answered"
        run.end()
    assert run.process.returncode == 6
    run.nothing_is_left()


def test_killed_it_takes_the_gateway_along(sleeping: Path) -> None:
    with serving(sleeping, options=HAND_MADE) as run:
        run.ready()
        assert run.gateway in run.processes()
        run.process.kill()
        run.end()
    run.nothing_is_left()


def test_calls_that_do_not_end_in_time_are_answered_and_told(
    sleeping: Path, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    log = tmp_path / "server.log"
    server = ScoringServer(sleeping, **PORTS, drain_seconds=0.5, log_file=log).start()
    call = threads.submit(over_http, server.http_url, sleep=8)
    time.sleep(1)
    assert server.stop() is False
    status, body = call.result()
    assert status == 503
    assert "the server has stopped before the answer came" in body
    assert "gateway: error: calls given up: 1 had no answer after 0.5 s\n" in log.read_text(encoding="utf-8")


def test_a_taken_port_is_told_before_anything_is_loaded(sleeping: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}: "):
            ScoringServer(sleeping, **PORTS | {"grpc_port": port}).start()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and keys that do not fit, a file of keys that is none, and an issuer's port that is closed."""
    folder = tmp_path_factory.mktemp("files")
    authority = Authority(folder)
    authority.write("one", "one")
    authority.write("other", "other")
    (folder / "keys.yaml").write_text("a: 3\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"auth": {"api_keys": "{0}/absent"}}, "{0}/absent: API keys cannot be read as YAML: No such file"),
        ({"auth": {"api_keys": "{0}/keys.yaml"}}, "{0}/keys.yaml: a: expected 64 hexadecimal digits"),
        ({"tls": {"certificate": "{0}/one.pem", "key": "{0}/other.key"}}, "expected PEM files that fit together"),
        (
            {"tls": {"certificate": "{0}/one.pem", "key": "{0}/one.key", "client_ca": "{0}/absent"}},
            "{0}/absent: No such file or directory: expected PEM",
        ),
        (
            {"auth": {"jwt": {"issuer": "a", "audience": "b", "keys": "{0}/one.key"}}},
            "{0}/one.key: expected a public key",
        ),
        (
            {"auth": {"jwt": {"issuer": "a", "audience": "b", "jwks_url": "http://127.0.0.1:9/jwks"}}},
            "http://127.0.0.1:9/jwks: keys of tokens cannot be fetched: .*refused",
        ),
        ({"access_log": {"file": "{0}/absent/access.jsonl"}}, "access_log.file: {0}/absent/access.jsonl: No such file"),
    ],
)
def test_what_the_gateway_could_not_read_is_told_before_anything_is_loaded(
    sleeping: Path, files: Path, part: dict[str, Any], problem: str
) -> None:
    policy = msgspec.convert(json.loads(json.dumps(part).replace("{0}", str(files))), GatewayPolicy)
    with pytest.raises(ConfigError, match=problem.replace("{0}", str(files))) as raised:
        ScoringServer(sleeping, **PORTS, policy=policy)
    assert "\n" not in str(raised.value)


def test_such_a_start_ends_with_2_and_one_line(sleeping: Path, files: Path) -> None:
    settings = {"PRAGMATIQ_GATEWAY_AUTH_API_KEYS": "absent", "PRAGMATIQ_SCORRER_THREDS": "1"}
    with serving(sleeping, options=HAND_MADE, env=os.environ | settings, cwd=files) as run:
        err = run.end()
    assert run.process.returncode == 2
    assert err.count("\n") == 1
    assert f"{files}/absent: API keys cannot be read" in err


def test_what_the_gateway_lacks_is_named(sleeping: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_process, "_NEEDED", ("uvicorn", "no_such_package", "google.no_such"))
    with pytest.raises(
        MissingDependencyError, match=r"no no_such_package, google\.no_such, .*pragmatiq-triton\[gateway"
    ):
        ScoringServer(sleeping, **PORTS)
