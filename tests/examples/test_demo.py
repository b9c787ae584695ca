"""The README's first command, without the setup."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.triton
def test_the_demo_ends_with_answers_of_both_variants_over_both_protocols():
    done = subprocess.run([sys.executable, "examples/demo.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("Answers of the running tritonserver") :]
    assert len(re.findall(r"embed +│ 0\d{3}", table)) == len(re.findall(r"bpe +│ 0\d{3}", table)) == 6
    assert "Open Government Licence" in table
