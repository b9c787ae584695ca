"""The container's entry point over the real server, laid out as in the image but for its ports, without the image."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.serving.processes import commands, stubs, tree
from pragmatiq_triton.keeper.remains import GATEWAY
from pragmatiq_triton.server import find_server_environment
from pragmatiq_triton.server.layout import lay_out_backend
from tests.pragmatiq_triton.calls import over_grpc, over_http

pytestmark = pytest.mark.triton

ROOT = Path(__file__).parents[3]
ENTRY = """
import sys
from pathlib import Path
from pragmatiq_triton.container import __main__ as entry, settings
settings.TRITON = Path(sys.argv.pop(1))
settings.TRITONSERVER = entry.TRITONSERVER = settings.TRITON / "bin" / "tritonserver"
settings._PORTS = dict.fromkeys(settings._PORTS, 0)
sys.exit(entry.main())
"""
READY = re.compile(r"ready on 127\.0\.0\.1: HTTP (\d+), gRPC (\d+); metrics (\d+)\n")


class Running:
    """The entry point; ``lines`` are what was read of its output."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []

    def until_ready(self) -> None:
        ports = READY.fullmatch(self.line(READY.fullmatch))
        assert ports
        self.http, self.grpc, self.metrics = (f"127.0.0.1:{port}" for port in ports.groups())

    def line(self, wanted: Callable[[str], object]) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if wanted(line):
                return line
        raise AssertionError(self.lines)

    def child(self, word: str) -> int:
        """The process with a word in its command line."""
        found = commands(self.process.pid)
        del found[self.process.pid]
        return next(pid for pid, words in found.items() if any(each.endswith(word) for each in words))

    def end(self) -> int:
        assert self.process.stdout is not None
        self.lines += self.process.stdout.readlines()
        return self.process.wait(30)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@contextmanager
def running(repository: Path, **variables: str) -> Iterator[Running]:
    environment = find_server_environment()
    triton = repository.parent / "opt"
    (triton / "bin").mkdir(parents=True)
    (triton / "bin" / "tritonserver").symlink_to(environment.tritonserver)
    lay_out_backend(environment, triton)
    settings = {
        "PRAGMATIQ_MODEL_REPOSITORY": str(repository),
        "PRAGMATIQ_SKIP_VERIFICATION": "1",
        "PRAGMATIQ_ADDRESS": "127.0.0.1",
        "PRAGMATIQ_METRICS_ADDRESS": "127.0.0.1",
        **variables,
    }
    with subprocess.Popen(
        [sys.executable, "-c", ENTRY, triton],
        env=environment.variables() | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        cwd=ROOT,
    ) as process:
        run = Running(process)
        try:
            yield run
            left = tree(process.pid)[1:]
            assert not left
        finally:
            process.kill()


def test_calls_under_way_are_answered_before_it_ends(sleeping: Path, threads: ThreadPoolExecutor) -> None:
    with running(sleeping) as run:
        run.until_ready()
        calls = threads.submit(over_http, run.http, sleep=3), threads.submit(over_grpc, run.grpc, sleep=3)
        time.sleep(1)
        run.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert over_http(run.http)[0] == 503
        assert calls[0].result()[0] == 200
        assert calls[1].result() == "answered"
        assert run.end() == 0, run.lines


def test_calls_that_are_given_up_are_told(sleeping: Path, threads: ThreadPoolExecutor) -> None:
    with running(sleeping, PRAGMATIQ_DRAIN_SECONDS="1") as run:
        run.until_ready()
        call = threads.submit(over_http, run.http, sleep=6)
        time.sleep(1)
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == 6
    assert call.result()[0] == 503
    assert "gateway: error: calls given up: 1 had no answer after 1 s\n" in run.lines
    assert run.lines[-1] == "error: calls under way were given up after 1 s\n"


def test_a_volumes_lost_and_found_is_passed_over(sleeping: Path) -> None:
    (sleeping / "lost+found").mkdir()
    with running(sleeping) as run:
        run.until_ready()
        assert over_http(run.http, sleep=0)[0] == 200
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == 0, run.lines
    assert "passed over in the repository: lost+found\n" in run.lines


def test_a_dead_models_process_is_named_and_ends_it(sleeping: Path) -> None:
    with running(sleeping) as run:
        run.until_ready()
        os.kill(stubs(run.child("/tritonserver"))["scorer"], signal.SIGKILL)
        assert run.line(lambda line: line.startswith("stopping")).startswith(
            "stopping: scorer: Stub process 'scorer_0_"
        )
        assert run.end() == 6
    assert run.lines[-1].startswith("error: scorer: Stub process 'scorer_0_")


def test_the_gateways_end_is_told(sleeping: Path) -> None:
    with running(sleeping) as run:
        run.until_ready()
        os.kill(run.child(GATEWAY), signal.SIGKILL)
        assert run.end() == 6
    assert run.lines[-1] == "error: the gateway ended by itself with SIGKILL (signal 9)\n"


def test_tritons_end_is_told_and_its_callers_are_answered(sleeping: Path, threads: ThreadPoolExecutor) -> None:
    with running(sleeping) as run:
        run.until_ready()
        call = threads.submit(over_http, run.http, sleep=30)
        time.sleep(1)
        os.kill(run.child("/tritonserver"), signal.SIGKILL)
        assert call.result()[0] == 503
        assert run.end() == 6
    assert "error: the Triton server ended with SIGKILL (signal 9):\n" in run.lines


def test_what_the_gateway_could_not_read_ends_it_before_models_are_loaded(sleeping: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with running(sleeping, PRAGMATIQ_GATEWAY_AUTH_API_KEYS=str(absent)) as run:
        assert run.end() == 2
    assert run.lines == [f"error: {absent}: API keys cannot be read as YAML: No such file or directory\n"]


def test_triton_with_known_holes_is_not_exposed(sleeping: Path) -> None:
    with running(sleeping, PRAGMATIQ_GATEWAY="0", PRAGMATIQ_METRICS_ADDRESS="0.0.0.0") as run:
        assert run.end() == 2
    assert len(run.lines) == 1
    assert run.lines[0].startswith("error: PRAGMATIQ_GATEWAY=0: callers may reach Triton itself on 0.0.0.0 from 2.59")
