"""``pragmatiq serve`` watches its models' processes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.serving.processes import stubs
from pragmatiq_client import ScoringClient
from tests.conftest import RECORDS

pytestmark = pytest.mark.triton


@contextmanager
def serving(repository):
    """The command, running, and the URLs that it printed."""
    ports = [word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", "0")]
    command = [Path(sys.executable).parent / "pragmatiq", "serve", repository, "--json", *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(60)


def test_a_dead_process_ends_it_with_the_models_name(repository, variant):
    model = "text_embedder" if variant == "embed" else "scorer"
    with serving(repository) as (process, urls):
        with ScoringClient(urls["grpc"], timeout=60) as client:
            client.score_one(RECORDS[0])
        time.sleep(1.5)  # a process killed in the midst of a message takes Triton itself along, now and then
        os.kill(stubs(process.pid)[model], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 6
    last = " ".join(err.partition("error")[2].split())
    assert f"{model}: Stub process '{model}_0_0' is not healthy" in last
    assert "serve the repository anew" in last
