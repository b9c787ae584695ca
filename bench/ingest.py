"""How fast a bank's table becomes raw data, beside the lines of pandas that do the same.

    python -m bench.ingest [--rows N] [--customers N] [--memory SIZE] [--rounds N] [--json FILE]

What makes the comparison fair, and what limits it:

- Both read the same CSV (semicolons, decimal commas, day before month, a zone with daylight saving, one row in 100
  there twice, one in 100 with a text that is no time) and write the same events.parquet, by customer and time; that
  they are the same is checked, row by row up to a million rows, by their number beyond.
- The lines of pandas are what an engineer writes who knows it: one format for all times, no loop, fields as the raw
  contract's message advises (``to_dict("records")``). They count nothing and write no rejects; ingest does.
- They run in turns, each as a process of its own, whose peak memory is that of the process (``ru_maxrss``).
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
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from bench.report import machine

SETTINGS = """\
events:
  - table: cards.csv
    source: card
    user: customer_id
    time: {column: booked_at, zone: Europe/London}
    fields: {amount: {column: amount, decimal: ","}, merchant: merchant, mcc: mcc, channel: channel}
"""
PANDAS = """\
import sys
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

folder, out = sys.argv[1:]
rows = pd.read_csv(f"{folder}/cards.csv", sep=";", dtype=str)
rows = rows.drop_duplicates()
local = pd.to_datetime(rows["booked_at"], format="%d/%m/%Y %H:%M:%S", errors="coerce")
rows = rows[local.notna()].copy()
zoned = local[local.notna()].dt.tz_localize("Europe/London", ambiguous=False, nonexistent=pd.Timedelta("1h"))
rows["ts"] = zoned.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[us]")
rows["amount"] = rows["amount"].str.replace(",", ".", regex=False)
rows = rows.sort_values(["customer_id", "ts"], kind="stable")
names = ["amount", "merchant", "mcc", "channel"]
rows["fields"] = rows[names].to_dict("records")
rows["source"] = "card"
rows = rows.rename(columns={"customer_id": "user_id"})
rows[["user_id", "ts", "source", "fields"]].to_parquet(out, compression="zstd", index=False)
"""
_CHUNK = 500_000
_MOST_COMPARED = 1_000_000

console = Console()


def write_table(file: Path, rows: int, customers: int) -> None:
    """A made-up table of card payments, a chunk at a time."""
    rng = np.random.default_rng(0)
    start = np.datetime64("2023-01-01T00:00:00")
    with file.open("w", encoding="utf-8") as out:
        out.write("customer_id;booked_at;amount;merchant;mcc;channel\n")
        for first in range(0, rows, _CHUNK):
            n = min(_CHUNK, rows - first)
            who = rng.integers(customers, size=n)
            at = (start + rng.integers(2 * 365 * 86_400, size=n).astype("timedelta64[s]")).astype(object)
            cents = rng.integers(1, 1_000_000, size=n)
            shop, mcc, channel = rng.integers(20_000, size=n), rng.integers(300, size=n), rng.integers(3, size=n)
            lines = [
                f"c{who[i]:07};{at[i]:%d/%m/%Y %H:%M:%S};{cents[i] // 100},{cents[i] % 100:02};merchant {shop[i]};"
                f"{mcc[i]:04};{'' if channel[i] == 0 else f'channel {channel[i]}'}\n"
                for i in range(n)
            ]
            for i in range(0, n, 100):
                lines[i] = lines[i].replace("/20", "/xx", 1)
            out.writelines(line for i, line in enumerate(lines) for _ in range(2 if i % 100 == 50 else 1))


def measured(command: Sequence[object]) -> tuple[float, float]:
    """Seconds and peak GiB of a command, which must succeed."""
    program = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, command)], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - started, int(done.stdout) / 2**20


def same_events(one: Path, other: Path) -> bool:
    """Whether two files hold the same events, whatever the order of those of one customer and moment."""
    n_rows = {pq.read_metadata(file).num_rows for file in (one, other)}
    return len(n_rows) == 1 and (n_rows.pop() > _MOST_COMPARED or _sorted_events(one) == _sorted_events(other))


def _sorted_events(file: Path) -> list[tuple[object, ...]]:
    table = pq.read_table(file)
    times = table["ts"].cast(pa.int64()).to_pylist()
    fields = (tuple(sorted(_filled(each))) for each in table["fields"].to_pylist())
    return sorted(zip(table["user_id"].to_pylist(), times, table["source"].to_pylist(), fields, strict=True))


def _filled(fields: Any) -> list[tuple[str, str]]:
    """Entries of a map or a struct that are not missing."""
    return [(name, value) for name, value in (fields.items() if isinstance(fields, dict) else fields) if value]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--memory", default="1GB", help="what ingest may use")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file to write with all seconds and peaks")
    options = parser.parse_args(arguments)
    if options.rows < 200 or options.customers < 1 or options.rounds < 1:
        parser.error("expected --rows of 200 or more, and --customers and --rounds of 1 or more")
    found: dict[str, list[tuple[float, float]]] = {"pandas": [], "ingest": []}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_table(work / "cards.csv", options.rows, options.customers)
        (work / "ingest.yaml").write_text(SETTINGS, encoding="utf-8")
        ingest = [sys.executable, "-m", "pragmatiq_builder.cli", "ingest", work / "ingest.yaml", "--out", work / "raw"]
        (work / "lines.py").write_text(PANDAS, encoding="utf-8")
        for _ in range(options.rounds):
            found["pandas"].append(measured([sys.executable, work / "lines.py", work, work / "pandas.parquet"]))
            found["ingest"].append(measured([*ingest, "--memory", options.memory]))
        if not same_events(work / "pandas.parquet", work / "raw" / "events.parquet"):
            raise SystemExit("the two wrote different events; the comparison means nothing")
        size = (work / "cards.csv").stat().st_size / 2**20
    console.print(f"{machine()}; {options.rows:,} rows, {size:,.0f} MiB of CSV, medians of {options.rounds}")
    for side, runs in found.items():
        seconds, peak = (statistics.median(each[at] for each in runs) for at in (0, 1))
        ratio = statistics.median(run[0] / own[0] for run, own in zip(runs, found["ingest"], strict=True))
        console.print(f"{side:8} {seconds:8.1f} s  {peak:6.2f} GiB at most  {ratio:5.1f} times ingest's time")
    if options.json:
        options.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
