"""Threads by the cores that are free, and none that spins."""

import json
import os
import subprocess
import sys

import pytest

from pragmatiq_builder import threads as module
from pragmatiq_builder.threads import free_between, free_cpus, set_threads, threads
from pragmatiq_triton.cpus import usable_cpus
from pragmatiq_triton.errors import ConfigError

WHAT_TORCH_SAYS = """
import json, os, sys
from pragmatiq_builder.threads import set_threads
set_threads(sys.argv[1])
assert "torch" not in sys.modules
import torch
print(json.dumps([torch.get_num_threads(), os.environ["OMP_WAIT_POLICY"]]))
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What is set here ends with the test; torch in this process keeps its threads."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        # So that what the code sets is taken back, too.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.mark.parametrize(
    ("idle", "usable", "expected"),
    [
        ([100, 100], 2, 2),
        ([100, 95], 2, 2),
        ([100, 0], 2, 1),
        ([0, 0], 2, 1),
        ([40, 40], 2, 1),
        ([100] * 8, 3, 3),
        ([100, 100, 10, 0], 4, 2),
    ],
)
def test_threads_are_the_cores_that_nobody_uses(idle, usable, expected):
    before = dict.fromkeys(range(len(idle)), (1000, 5000))
    after = {core: (1000 + ticks, 5100) for core, ticks in enumerate(idle)}
    assert free_between(before, after, usable) == expected


def test_without_a_sample_threads_are_the_cores_that_may_be_used(tmp_path):
    assert free_between({}, {}, 3) == 3
    assert free_cpus(0, tmp_path / "none") == usable_cpus()


def test_the_kernel_s_counters_are_read(tmp_path):
    core = min(os.sched_getaffinity(0))
    (tmp_path / "stat").write_text(
        f"cpu  9 9 9 9 9 9 9 9 0 0\ncpu{core} 100 1 30 800 7 2 3 57 5 5\ncpu9999 1 1 1 1 1 1 1 1 0 0\nintr 5\n",
        encoding="ascii",
    )
    assert module._idle(tmp_path / "stat") == {core: (807, 1000)}


@pytest.mark.parametrize("asked", ["1", "3"])
def test_torch_takes_as_many_as_asked_and_waits_without_spinning(asked):
    done = subprocess.run([sys.executable, "-c", WHAT_TORCH_SAYS, asked], capture_output=True, text=True, check=True)
    # torch takes no more than there are cores.
    assert json.loads(done.stdout) == [min(int(asked), usable_cpus()), "passive"]


def test_auto_heeds_the_environment_and_the_free_cores(monkeypatch):
    monkeypatch.setattr(module, "free_cpus", lambda: 5)
    assert set_threads() == threads() == 5
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("5", "passive")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert set_threads() == threads() == 2
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert set_threads("4") == threads() == 4


def test_unset_threads_are_the_cores_that_may_be_used():
    assert threads() == usable_cpus()


@pytest.mark.parametrize("asked", ["0", "-1", "two", "", "1.5"])
def test_what_is_no_number_of_threads_is_refused(asked):
    with pytest.raises(ConfigError, match="expected auto or a number of at least 1"):
        set_threads(asked)
