"""``pragmatiq serve`` ends when it is told to, wherever it was started, and the real server ends with it.

Without the gateway, whose end is in test_gateway_ends.py.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.serving.processes import commands
from pragmatiq_triton.keeper.remains import GATEWAY, SHARED_MEMORY
from pragmatiq_triton.server import TritonServer

pytestmark = pytest.mark.triton

PRAGMATIQ = Path(sys.executable).parent / "pragmatiq"
PORTS = [word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", "0")]
BY_HAND = ("--skip-verification", "--no-gateway")
"""For a repository that is made by hand and holds no ensemble."""
STUCK = "class TritonPythonModel:\n    def finalize(self):\n        import time\n        time.sleep(600)\n"
SLOW = "import time\ntime.sleep(600)\n"
# As a shell starts a background job, and with a mask that blocks what ends it.
HARDENED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
os.execv(sys.argv[1], sys.argv[1:])
"""


class Serving:
    """The command, running; ``group`` is Triton's process group, ``gateway`` a process that may not be there."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.urls: dict[str, str] = {}
        self.group = 0
        self.gateway = 0
        self.named = ""

    def ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        self.urls = json.loads(line)
        self.look()

    def look(self) -> None:
        """Find the server among the children."""
        for pid, words in commands(self.process.pid).items():
            if words[0].endswith("/tritonserver"):
                self.group = pid
                self.named = next(word.partition("=")[2] for word in words if word.startswith("--id="))
            if GATEWAY in words:
                self.gateway = pid

    def processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) in (self.group, self.gateway or self.group) and fields[0] != "Z":
                found.append(int(entry.name))
        return found

    def nothing_is_left(self) -> None:
        until(lambda: not self.processes() and not list(SHARED_MEMORY.glob(f"{self.named}*")))
        for url in (self.urls["http"], self.urls["grpc"]) if self.urls else ():
            host, _, port = url.partition(":")
            with socket.socket() as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind((host, int(port)))

    def end(self) -> str:
        """Wait for the end; standard error."""
        _, err = self.process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return err


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.05)
    assert condition()


@contextmanager
def serving(
    repository: Path, before: Sequence[str] = (), options: Sequence[str] = BY_HAND, **settings: Any
) -> Iterator[Serving]:
    """``pragmatiq serve``; ``settings`` are those of the process."""
    words = [*before, str(PRAGMATIQ), "serve", str(repository), "--json", *PORTS, *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings) as process:
        try:
            yield Serving(process)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_background_job_ends_on_every_stop_signal(doubling: Path, number: signal.Signals) -> None:
    with serving(doubling, before=[sys.executable, "-c", HARDENED]) as run:
        run.ready()
        run.process.send_signal(number)
        err = run.end()
    assert run.process.returncode == 0, err
    run.nothing_is_left()


def test_it_closes_what_the_image_closes_and_takes_its_server_along_when_it_is_killed(doubling: Path) -> None:
    open_or_not = {"/v2/health/ready": 200, "/v2/models/doubling": 200, "/v2/models/doubling/config": 403}
    with serving(doubling, before=["setsid"]) as run:
        run.ready()
        for path, status in open_or_not.items():
            connection = http.client.HTTPConnection(run.urls["http"], timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().status == status
            connection.close()
        assert len(run.processes()) >= 2
        run.process.kill()
        run.end()
    run.nothing_is_left()


def test_a_second_signal_ends_it_at_once(make_repository: Callable[..., Path]) -> None:
    with serving(make_repository(stuck=STUCK)) as run:
        run.ready()
        run.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert run.process.poll() is None
        run.process.send_signal(signal.SIGINT)
        err = run.end()
    assert run.process.returncode == 130
    assert "calls under way were given up" in err
    run.nothing_is_left()


def test_a_signal_during_the_start_ends_it_soon(make_repository: Callable[..., Path]) -> None:
    with serving(make_repository(slow=SLOW)) as run:
        until(lambda: run.look() or (bool(run.group) and len(run.processes()) >= 2))
        run.process.send_signal(signal.SIGINT)
        err = run.end()
    assert run.process.returncode == 0, err
    run.nothing_is_left()


def test_under_nohup_a_hangup_is_ignored_and_closed_streams_do_not_matter(doubling: Path) -> None:
    script = 'exec nohup "$@" <&- 2>&-'
    with serving(doubling, before=["sh", "-c", script, "sh"]) as run:
        run.ready()
        run.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert run.process.poll() is None
        run.process.send_signal(signal.SIGTERM)
        run.end()
    assert run.process.returncode == 0
    run.nothing_is_left()


def test_a_server_of_another_thread_outlives_the_thread(doubling: Path) -> None:
    server = TritonServer(doubling, http_port=0, grpc_port=0, metrics_port=0)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    assert server.wait(1) is None
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    stopping.join()
    assert not list(SHARED_MEMORY.glob(f"{server._id}*"))


def test_a_crash_is_told_by_its_signal_and_the_last_words(doubling: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with serving(doubling, options=[*BY_HAND, "--log-file", str(log)]) as run:
        run.ready()
        os.kill(run.group, signal.SIGSEGV)
        err = run.end()
    assert run.process.returncode == 6
    assert "Triton ended by itself with SIGSEGV (signal 11); its last words:" in err
    assert err.partition("its last words:\n")[2].strip() in log.read_text(encoding="utf-8")
    assert "is killed" not in err
    assert log.stat().st_mode & 0o777 == 0o600
    run.nothing_is_left()
