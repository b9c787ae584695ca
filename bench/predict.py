"""How fast a book of customers is predicted to a file, beside the same book asked of a warm server.

    python -m bench.predict [--users N] [--rounds N] [--model-size SIZE] [--memory N] [--json FILE]

What makes the comparison fair, and what limits it:

- Both have all cores, the same repository and the same records, whose customers neither has seen: the book is cold. The
  server has answered another book before, so that its graphs are warm; it is asked over gRPC with eight records under
  way, and its gateway and the client, which share its cores, are left out by asking Triton itself from one process.
- The speed of ``predict`` is customers by the wall time of the command, less that of the same command on one customer,
  which is spent on starting and on loading the model; it reads the file of records and writes the parquet file.
- They run in turns; a round begins a new server, because a book is cold only once.

With ``--memory N`` the memory of ``predict`` is measured instead: the peak of its largest process for the book, and for
a book N times as long, of the same histories under other names. A book is bounded by nothing, so they should be alike.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import pragmatiq_triton as pt
from bench.ingest import measured
from bench.report import machine
from pragmatiq_builder.raw.records import write_records
from pragmatiq_builder.score import Server, score_lines
from pragmatiq_builder.score_input import read_lines
from pragmatiq_triton.cpus import usable_cpus
from pragmatiq_triton.server import TritonServer

CONCURRENCY = 8
WARM_RECORDS = 20
BAR = 0.8
"""Of the server's speed."""

console = Console()


def make_repository(work: Path, model_size: str, users: int) -> Path:
    """An exported run of that size after two steps: its weights do not matter here."""
    pt.synth(work / "raw", users=20, seed=1, progress=False)
    pt.tokenize(work / "raw", work / "tok", progress=False)
    run = pt.pretrain(
        work / "tok", "bench", model_size=model_size, max_steps=2, runs_root=work / "runs", progress=False
    )  # type: ignore[arg-type]
    pt.export(run, work / "repository", progress=False)
    for name, n_users, seed in (("book", users, 2), ("warm", WARM_RECORDS, 3), ("one", 1, 4)):
        pt.synth(work / name, users=n_users, seed=seed, progress=False)
        write_records(work / name, work / f"{name}.jsonl")
    return work / "repository"


def predicted(work: Path, repository: Path, processes: int) -> float:
    """Customers per second of ``pragmatiq predict``."""
    walls = {}
    for name in ("one", "book"):
        out = work / f"{name}-{processes}.parquet"
        out.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "pragmatiq_builder.cli",
            "predict",
            work / f"{name}.jsonl",
            "--repository",
            repository,
        ]
        started = time.perf_counter()
        subprocess.run([*command, "--out", out, "--processes", str(processes)], check=True, capture_output=True)
        walls[name] = time.perf_counter() - started
    return (_lines(work / "book.jsonl") - 1) / (walls["book"] - walls["one"])


def peaks(work: Path, repository: Path, times: int) -> dict[int, tuple[float, float]]:
    """By the length of a book in customers its size in GiB and the peak of one process that predicts it, in GiB."""
    found = {}
    for n in (1, times):
        book = work / f"book-{n}.jsonl"
        with (work / "book.jsonl").open(encoding="utf-8") as read, book.open("w", encoding="utf-8") as written:
            for line in read:
                record = json.loads(line)
                for copy in range(n):
                    written.write(json.dumps({**record, "user_id": f"{record['user_id']}-{copy}"}) + "\n")
        out = work / f"peak-{n}.parquet"
        command = [
            sys.executable,
            "-m",
            "pragmatiq_builder.cli",
            "predict",
            book,
            "--repository",
            repository,
            "--out",
            out,
        ]
        _, peak = measured([*command, "--processes", 1])
        found[_lines(book)] = (book.stat().st_size / 2**30, peak)
    return found


def served(work: Path, repository: Path) -> float:
    """Customers per second of a server that has answered another book."""
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as triton:
        server = Server(triton.grpc_url, "grpc", timeout=300)
        _ask(work / "warm.jsonl", server)
        started = time.perf_counter()
        n_answers = _ask(work / "book.jsonl", server)
        return n_answers / (time.perf_counter() - started)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a line for each side."""
    options = _options(arguments)
    cores = usable_cpus()
    speeds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        repository = make_repository(work, options.model_size, options.users)
        if options.memory:
            console.print(f"{machine()}; {options.model_size}")
            for n_customers, (size, peak) in peaks(work, repository, options.memory).items():
                console.print(f"{n_customers:,} customers, {size:.2f} GiB of records: {peak:.2f} GiB at most")
            return
        for _ in range(options.rounds):
            speeds.setdefault("warm server", []).append(served(work, repository))
            for processes in sorted({1, cores}):
                speed = predicted(work, repository, processes)
                speeds.setdefault(f"predict, {processes} process(es)", []).append(speed)
        size = (work / "book.jsonl").stat().st_size
    console.print(machine())
    console.print(f"{options.model_size}, {options.users} customers, {size / 1e6:.1f} MB of records, {cores} cores")
    server = statistics.median(speeds["warm server"])
    for name, found in speeds.items():
        speed = statistics.median(found)
        console.print(f"{name}: {speed:.1f} customers/s [{min(found):.1f}, {max(found):.1f}], {speed / server:.2f} ×")
    console.print(f"bar: with {cores} processes at least {BAR} × the server")
    if options.json:
        options.json.write_text(json.dumps(speeds, indent=1), encoding="utf-8")


def _ask(file: Path, server: Server) -> int:
    answers = [answer for window in score_lines(read_lines(file), server, CONCURRENCY) for answer in window]
    assert all(answer.kind == "answered" for answer in answers)
    return len(answers)


def _lines(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=300, help="customers of the book (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured (%(default)s)")
    parser.add_argument("--model-size", choices=("nano", "small", "medium"), default="small", help="(%(default)s)")
    parser.add_argument("--memory", type=int, metavar="N", help="measure memory: how many times as long a book may be")
    parser.add_argument("--json", type=Path, help="file for every single measurement")
    options = parser.parse_args(arguments)
    if options.users < 2 or options.rounds < 1 or (options.memory is not None and options.memory < 2):
        parser.error("expected --users and --memory of at least 2 and --rounds of at least 1")
    return options


if __name__ == "__main__":
    main()
