"""--version, doctor, and configs by name, as a user types them."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def test_the_version(pragmatiq):
    assert pragmatiq("--version").out.split() == ["pragmatiq-triton", version("pragmatiq-triton")]


def test_doctor_says_what_is_there(pragmatiq):
    found = pragmatiq("doctor", "--json").json
    assert found["ok"]
    assert {"extra train", "server", "libpython", "cores", "disk here"} <= {check["name"] for check in found["checks"]}


def test_doctor_ends_with_5_and_the_command_where_the_server_is_missing(tmp_path):
    command = [str(Path(sys.executable).parent / "pragmatiq"), "doctor"]
    environment = {**os.environ, "PRAGMATIQ_SERVER_ENV": str(tmp_path / "none")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 5
    assert done.stderr.strip() == "missing: server"
    assert 'pip install "pragmatiq-triton[serve,embedded]"' in done.stdout


def test_a_config_by_name_is_the_file(pragmatiq, data, tmp_path):
    (tmp_path / "hash").write_text("n_buckets: nothing\n", encoding="utf-8")
    tok = ("--out", tmp_path / "tok", "--json")
    by_name = pragmatiq("tokenize", data, *tok, "--config", "hash", cwd=tmp_path)
    assert "write ./hash for the file here" in by_name.err
    by_path = pragmatiq("tokenize", data, *tok, "--config", "configs/data/tokenizer_hash.yaml")
    assert by_name.json == by_path.json
    wrong = pragmatiq("tokenize", data, *tok, "--config", "hsh", expect=2)
    assert "bpe, hash, nemotron" in wrong.err
