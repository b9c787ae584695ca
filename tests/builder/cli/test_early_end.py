"""Ctrl-C while the command is still being loaded: quiet, and with the exit code that it has later."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PRAGMATIQ = Path(sys.executable).parent / "pragmatiq"
# As early as there is anything of ours: once the package is there, before its first import.
SLOW = """
import builtins, sys, time
real = builtins.__import__
def slow(name, *rest, **more):
    if name.startswith("pragmatiq_builder.cli.app"):
        print("loading", flush=True)
        time.sleep(20)
    return real(name, *rest, **more)
builtins.__import__ = slow
from pragmatiq_builder.cli import main
main()
"""


def test_a_command_that_is_still_loading_ends_quietly():
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout.readline() == "loading\n"
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (130, "")


@pytest.mark.parametrize("seconds", [0.15, 0.25, 0.4])
def test_wherever_it_is_it_ends_with_130_and_no_traceback_of_ours(seconds, tmp_path):
    command = [PRAGMATIQ, "synth", "--out", tmp_path / "data", "--users", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        time.sleep(seconds)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode in (130, -signal.SIGINT), err
    assert "builder/pragmatiq_builder/cli" not in err, err
