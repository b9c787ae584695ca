"""With the text branch off, nothing of it is imported, and nothing comes out differently where it is missing."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def bpe_line(out: Path, python_path: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bpe_line", out],
        env={**os.environ, "PYTHONPATH": python_path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("metrics.jsonl", "trainer.pt") and path.suffix != ".pyc"
    }


@pytest.mark.triton
def test_bpe_gives_the_same_bytes_with_and_without_the_text_branch(tmp_path):
    whole = bpe_line(tmp_path / "whole", "")
    bare = bpe_line(tmp_path / "bare", str(ROOT / "tests" / "without_text_branch"))
    assert "transformers imported: False" in whole
    assert "transformers installed: True" in whole
    assert "transformers installed: False" in bare
    expected, got = hashes(tmp_path / "whole"), hashes(tmp_path / "bare")
    assert got == expected
    assert {"repository/scorer/1/event_encoder.onnx", "answers_grpc.npy", "answers_http.npy", "forward.npz"} <= set(got)


def test_the_blocked_modules_are_the_ones_that_exist():
    """A renamed module would leave the test above blocking nothing."""
    # Read, not imported: importing it would block them here.
    source = (ROOT / "tests" / "without_text_branch" / "sitecustomize.py").read_text(encoding="utf-8")
    ours = re.findall(r'"((?:pragmatiq_triton|pragmatiq_builder)\.[\w.]+)"', source)
    assert len(ours) == 6
    files = [f"{name.replace('.', '/')}.py" for name in ours]
    assert [file for file in files if not ((ROOT / file).exists() or (ROOT / "builder" / file).exists())] == []
