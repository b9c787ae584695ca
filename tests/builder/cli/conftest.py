import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pragmatiq_builder.cli import main

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Done:
    """What a finished command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def text(self):
        """Both, without the wrapping of tables."""
        return " ".join((self.out + self.err).split())


@pytest.fixture(scope="session")
def pragmatiq():
    """Runs the installed command, offline, and checks how it ends."""

    def run(*arguments, expect=0, cwd=ROOT):
        command = [str(Path(sys.executable).parent / "pragmatiq"), *map(str, arguments)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)
        assert done.returncode == expect, done.stderr or done.stdout
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def data(pragmatiq, tmp_path_factory):
    """A small synthetic data folder."""
    folder = tmp_path_factory.mktemp("data") / "synth"
    pragmatiq("synth", "--out", folder, "--users", 12)
    return folder


@pytest.fixture
def call(monkeypatch, capfd):
    """Runs a command in this process, where torch is loaded already, and checks how it ends."""

    def run(*arguments, expect=0):
        monkeypatch.setattr(sys, "argv", ["pragmatiq", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as end:
            main()
        captured = capfd.readouterr()
        code = end.value.code or 0
        assert code == expect, captured.err
        return Done(code, captured.out, captured.err)

    return run
