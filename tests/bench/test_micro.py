"""The micro-benchmarks, each run once and not measured, on the smallest network: what they assert holds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_micro_benchmark_runs_and_finds_its_result_right():
    command = [sys.executable, "-m", "pytest", "bench/micro", "--benchmark-disable", "--model-size", "nano", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
