"""Processor time and memory of a process tree, held to processes that use a known amount."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bench.serving.processes import cpu_seconds, memory, stubs, tree

BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"


def python(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)


@pytest.fixture
def parent():
    """A process that starts a busy one, then says its id and waits."""
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])\n"
    code += "child = subprocess.Popen(['cat'], stdin=subprocess.PIPE)\nprint(child.pid, flush=True)\nsys.stdin.read()\n"
    process = python(code)
    yield process, int(process.stdout.readline())
    process.communicate()


def test_a_tree_holds_the_children(parent):
    process, child = parent
    assert {process.pid, child} <= set(tree(process.pid))
    assert child in tree(os.getpid())
    assert process.pid not in tree(child)


def test_time_counts_children_that_have_ended(parent):
    assert 0.25 <= cpu_seconds(parent[0].pid) <= 5


def test_time_is_what_the_kernel_says_of_this_process():
    own = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in (0, -1))
    assert cpu_seconds(os.getpid()) == pytest.approx(own, abs=1)


def test_resident_memory_grows_by_what_is_kept():
    before = memory(os.getpid())
    kept = bytearray(os.urandom(64 * 2**20))
    after = memory(os.getpid())
    assert after.rss - before.rss >= 0.8 * len(kept)
    assert after.pss <= after.rss


def test_a_process_that_is_gone_uses_nothing():
    process = python("")
    process.communicate()
    assert cpu_seconds(process.pid) == 0
    assert memory(process.pid).rss == 0


def test_stubs_are_known_by_their_models_name(tmp_path):
    stub = tmp_path / "triton_python_backend_stub"
    stub.symlink_to(sys.executable)
    waiting = [stub, "-c", "import sys; sys.stdin.read()", "/models/tokenizer/1/model.py"]
    process = subprocess.Popen(waiting, stdin=subprocess.PIPE)
    try:
        assert stubs(os.getpid()) == {"tokenizer": process.pid}
    finally:
        process.communicate()
    assert Path(stub).exists()
