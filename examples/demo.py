"""The main job, end to end, on real payments: train tiny, export, serve, score over gRPC and HTTP.

Runs the commands that a user would type, once for the text branch (embed) and once for BPE, and prints the answers.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pragmatiq_client import ScoringClient
from pragmatiq_triton.embedded import TritonServer

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data" / "birmingham"
USERS = 6
CONFIGS = {"embed": "tokenizer_hash.yaml", "bpe": "tokenizer_bpe.yaml"}

console = Console()


def pragmatiq(*arguments: str | Path) -> None:
    """Run one command as a user would, shown before it runs."""
    words = [str(argument) for argument in arguments]
    console.print(f"$ pragmatiq {shlex.join(words)}", style="bold", markup=False, highlight=False, soft_wrap=True)
    command = "import sys; from builder.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", command, *words], check=True)


def build(variant: str, work: Path) -> Path:
    """Tokenize, pre-train and export one variant; the path of its model repository."""
    tok, repository = work / f"tok_{variant}", work / f"repository_{variant}"
    pragmatiq("tokenize", DATA, "--out", tok, "--config", ROOT / "configs" / "data" / CONFIGS[variant])
    pragmatiq(
        "pretrain", tok, "--name", variant, "--config", ROOT / "configs" / "train" / "tiny.yaml",
        "--runs-root", work / "runs",
    )  # fmt: skip
    pragmatiq("export", work / "runs" / variant, "--out", repository)
    return repository


def serve_and_score(repository: Path, records: list[dict[str, object]], table: Table, variant: str) -> None:
    """Start the server, ask it over both protocols, and add a row per record."""
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        answers = {}
        for protocol, url in (("grpc", server.grpc_url), ("http", server.http_url)):
            with ScoringClient(url, protocol=protocol, timeout=60) as client:
                answers[protocol] = [client.score_one(record) for record in records]
    for record, grpc, http in zip(records, answers["grpc"], answers["http"], strict=True):
        start = " ".join(f"{value:+.3f}" for value in grpc.embedding[:4])
        difference = float(np.abs(grpc.embedding - http.embedding).max())
        table.add_row(
            variant, str(record["user_id"]), str(len(record["events"])), f"[{len(grpc.embedding)}] {start} ...",
            json.dumps(grpc.scores), f"{difference:.0e}",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="work in this folder and keep it")
    arguments = parser.parse_args()
    began = time.monotonic()
    table = Table(title="Answers of the running tritonserver for real purchase cards", title_justify="left")
    for column in ("variant", "card", "payments", "embedding (gRPC)", "scores", "gRPC - HTTP"):
        table.add_column(column)
    with tempfile.TemporaryDirectory(prefix="pragmatiq-demo-") as scratch:
        work = arguments.keep or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        pragmatiq("records", DATA, "--out", work / "records.jsonl", "--users", str(USERS))
        records = [json.loads(line) for line in (work / "records.jsonl").read_text(encoding="utf-8").splitlines()]
        for variant in CONFIGS:
            serve_and_score(build(variant, work), records, table, variant)
    console.print(table)
    console.print(f"Done in {time.monotonic() - began:.0f} s. The payments are real, the training is a minute long.")
    console.print("Contains public sector information licensed under the Open Government Licence v3.0.", style="dim")


if __name__ == "__main__":
    main()
