"""The README's commands, run as they are written, from flat tables to a served score."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.synth import generate

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
SET_UP = "make setup && . .venv/bin/activate"


def commands(heading: str) -> list[str]:
    """The indented lines under a heading, without their comments."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [re.sub(r"\s+#.*", "", line[4:]) for line in section.splitlines() if line.startswith("    ")]


def run(work: Path, line: str) -> str:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PRAGMATIQ_SERVER_ENV": os.environ.get("PRAGMATIQ_SERVER_ENV", str(ROOT / ".venv-serve")),
    }
    done = subprocess.run(["bash", "-c", line], cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def from_tables_to_scores(work: Path, raw: Path, task: str) -> list[dict]:
    """Run the block on another data set; the answers of the server."""
    (work / "examples").symlink_to(ROOT / "examples")
    lines = commands("From your own tables to a score")
    assert lines[0] == SET_UP
    for line in lines[1:]:
        meant = line.replace("tests/data/birmingham", str(raw)).replace("inactive_180d", task)
        if line.startswith("pragmatiq serve"):
            # As in a second terminal: any free ports, and the next command once it answers.
            words = [*meant.split(), "--json", *(f"--{name}-port=0" for name in ("http", "grpc", "metrics"))]
            server = subprocess.Popen(
                [Path(sys.executable).parent / words[0], *words[1:]], cwd=work, stdout=subprocess.PIPE, text=True
            )
            assert server.stdout is not None
            urls = json.loads(server.stdout.readline())
        elif line.startswith("pragmatiq score"):
            try:
                printed = run(work, f"{meant} --json --url {urls['grpc']}")
            finally:
                server.terminate()
                server.wait()
        else:
            run(work, meant)
    return [json.loads(line) for line in printed.splitlines()]


def check(work: Path, answers: list[dict], task: str) -> None:
    book = pq.read_table(work / "scores.parquet").to_pydict()
    predicted = dict(zip(book["user_id"], book[task], strict=True))
    records = [json.loads(line) for line in (work / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == len(records) == 10
    for record, answer in zip(records, answers, strict=True):
        assert answer["scores"][task] == pytest.approx(predicted[record["user_id"]], abs=1e-6)
    assert len({answer["scores"][task] for answer in answers}) > 1
    report = json.loads((work / "data/raw/ingest.json").read_text(encoding="utf-8"))
    payments = report["tables"][0]
    assert 0.005 < sum(payments["rejected"].values()) / payments["read"] < 0.02


@pytest.mark.triton
def test_tables_that_nobody_has_seen_are_scored_by_the_readmes_commands_alone(tmp_path):
    raw = tmp_path / "synthetic"
    generate(raw, 80, 4242)
    for file in sorted((raw / "labels").glob("*.parquet")):
        if file.stem != "default_12m":
            file.unlink()
    check(tmp_path, from_tables_to_scores(tmp_path, raw, "default_12m"), "default_12m")


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.parametrize(("data", "task"), [("uci_taiwan", "default_next_month"), ("birmingham", "inactive_180d")])
def test_real_tables_are_scored_by_the_readmes_commands_alone(tmp_path, data, task):
    if not (SHARED / data).exists():
        pytest.skip(f"{SHARED / data} is not there")
    check(tmp_path, from_tables_to_scores(tmp_path, SHARED / data, task), task)
