"""The README's first command, without the setup."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.triton
def test_the_demo_ends_with_named_probabilities_over_both_protocols():
    done = subprocess.run([sys.executable, "examples/demo.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("Answers of the running tritonserver") :]
    payments = re.findall(r"\{\"inactive_180d\": (0\.\d+)\}", table)
    synthetic = re.findall(r"\{\"default_12m\": (0\.\d+), \"fraud\": (0\.\d+)\}", table)
    assert len(payments) == len(synthetic) == 5
    assert len(set(payments)) > 1
    assert "Open Government Licence" in table
