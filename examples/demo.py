"""The main job, end to end: train tiny, fit task heads, export, serve, score over gRPC and HTTP, print probabilities.

Runs the commands that a user would type: on real purchase-card payments with the text branch (embed), and on synthetic
customers with BPE.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pragmatiq_client import ScoringClient
from pragmatiq_triton.server import TritonServer

ROOT = Path(__file__).parents[1]
USERS = 5


@dataclass(frozen=True)
class Case:
    """A data set, the tokenizer's settings, and the tasks with the method of their heads."""

    name: str
    data: Path
    config: str
    tasks: dict[str, str]


console = Console()


def pragmatiq(*arguments: str | Path) -> None:
    """Run one command as a user would, shown before it runs."""
    words = [str(argument) for argument in arguments]
    console.print(f"$ pragmatiq {shlex.join(words)}", style="bold", markup=False, highlight=False, soft_wrap=True)
    subprocess.run([sys.executable, "-m", "pragmatiq_builder.cli", *words], check=True)


def build(case: Case, work: Path) -> Path:
    """Tokenize, pre-train, fit the heads and export; the path of the model repository."""
    tok, run, repository = work / f"tok_{case.name}", work / "runs" / case.name, work / f"repository_{case.name}"
    pragmatiq("tokenize", case.data, "--out", tok, "--config", ROOT / "configs" / "data" / case.config)
    pragmatiq(
        "pretrain", tok, "--name", case.name, "--config", ROOT / "configs" / "train" / "tiny.yaml",
        "--runs-root", run.parent,
    )  # fmt: skip
    for task, method in case.tasks.items():
        label = case.data / "labels" / f"{task}.parquet"
        pragmatiq("finetune", tok, "--run", run, "--label", label, "--task", task, "--method", method, "--overwrite")
    pragmatiq("export", run, "--out", repository)
    return repository


def serve_and_score(repository: Path, case: Case, work: Path, table: Table) -> None:
    """Start the server, ask it over both protocols, and add a row per record."""
    file = work / f"records_{case.name}.jsonl"
    pragmatiq("records", case.data, "--out", file, "--users", str(USERS))
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        answers = {}
        for protocol, url in (("grpc", server.grpc_url), ("http", server.http_url)):
            with ScoringClient(url, protocol=protocol, timeout=60) as client:
                answers[protocol] = [client.score_one(record) for record in records]
    for record, grpc, http in zip(records, answers["grpc"], answers["http"], strict=True):
        difference = max(abs(grpc.scores[task] - http.scores[task]) for task in grpc.scores)
        scores = json.dumps({task: round(score, 4) for task, score in grpc.scores.items()})
        table.add_row(
            case.name, str(record["user_id"]), str(len(record["events"])), scores, f"[{len(grpc.embedding)}]",
            f"{difference:.0e}",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="work in this folder and keep it")
    arguments = parser.parse_args()
    began = time.monotonic()
    table = Table(title="Answers of the running tritonserver", title_justify="left")
    for column in ("data", "user", "events", "scores (gRPC)", "embedding", "gRPC - HTTP"):
        table.add_column(column)
    with tempfile.TemporaryDirectory(prefix="pragmatiq-demo-") as scratch:
        work = arguments.keep or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        pragmatiq("synth", "--out", work / "synth", "--users", "400")
        cases = [
            Case("payments", ROOT / "tests/data/birmingham", "tokenizer_hash.yaml", {"inactive_180d": "hybrid"}),
            Case("synth", work / "synth", "tokenizer_bpe.yaml", {"default_12m": "probe", "fraud": "hybrid"}),
        ]
        for case in cases:
            serve_and_score(build(case, work), case, work, table)
    console.print(table)
    console.print(f"Done in {time.monotonic() - began:.0f} s. The payments are real, the training is a minute long.")
    console.print("Contains public sector information licensed under the Open Government Licence v3.0.", style="dim")


if __name__ == "__main__":
    main()
