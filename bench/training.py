"""How fast data is tokenized and a network pre-trained on this machine's cores, alone or beside the upstream toolkit.

    python bench/training.py [--vs-upstream] [--users N] [--rounds N] [--steps N] [--precision P] [--work DIR]
                             [--json FILE]

What makes the comparison fair, and what limits it:

- Both sides are programs of their own, started the same way, with as many threads as there are cores. They run one at a
  time, in turns; the ratio is taken within each round, against the fastest setting of the other side, and its median
  is reported with its range. Speeds are medians over the rounds.
- Both read the same raw data with the same tokenizer settings. How many tokens that makes is each side's own affair, so
  tokenizing is counted in events, and tokens per event and vocabulary are printed.
- Tokenizing: neither side reports its time, so it is the wall time of the command less that of the same command on one
  customer, which is spent on starting and on loading libraries. ``encode`` takes the tokenizer that ``fit + encode``
  fitted. The upstream toolkit is measured with its default of one process and with a worker process per core.
- Pre-training: both report event tokens per second themselves; what counts is the second half of the steps. Both train
  on the CPU, on data that they tokenized, with the same token budget and one batch per optimizer step, each in its
  default precision: ours takes bfloat16 where the processor multiplies it, unless ``--precision 32-true``.
  Long histories cost more per token and each side mixes its batches its own way, so the data is a dozen customers: half
  of the default steps is about one pass over them. Where text is embedded our vocabulary is smaller, which shortens the
  softmax: we cut pieces for profiles alone.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from bench.report import Row, machine, sizes_table, table
from bench.toolkits import CORES, Toolkit, ours, upstream, versions
from pragmatiq_builder.synth import generate

TOKENIZER = {"categorical_threshold": 200, "target_vocab": 3000}
VARIANTS = {
    "BPE": TOKENIZER,
    "embed": {**TOKENIZER, "text_value_mode": "embed", "text_encoder": "hash", "text_encoder_dim": 64},
}
TOKENIZE_BAR, PRETRAIN_BAR = 10, 1.5
PACKAGES = ("torch", "numpy", "pyarrow", "tokenizers")

console = Console()


@dataclass(frozen=True)
class Plan:
    """How much is measured; half of ``steps`` is warm-up."""

    users: int = 200
    pretrain_users: int = 12
    steps: int = 24
    model_size: str = "small"
    token_budget: int = 16_384
    rounds: int = 3


def tokenizing(toolkits: Sequence[Toolkit], work: Path, plan: Plan) -> list[Row]:
    """Measure both variants, fitting as well as encoding with what was fitted."""
    generate(work / "raw", plan.users)
    generate(work / "raw_one", 1)
    rows = []
    for variant in VARIANTS:
        config = _tokenizer_config(work, variant)
        whole = Row(f"tokenize {variant}, fit + encode", "events/s", TOKENIZE_BAR)
        encode = Row(f"tokenize {variant}, encode", "events/s", TOKENIZE_BAR)
        for number in range(plan.rounds):
            for toolkit in toolkits:
                console.print(f"tokenize {variant}, round {number + 1}: {toolkit.name}", style="dim")
                whole_seconds = _beyond_start(toolkit, work, "tok", "--config", config)
                sizes = toolkit.sizes(work / "tok")
                encode_seconds = _beyond_start(toolkit, work, "again", "--tokenizer-dir", work / "tok" / "tokenizer")
                whole.add(toolkit.name, sizes.events / whole_seconds)
                encode.add(toolkit.name, sizes.events / encode_seconds)
                whole.sizes[toolkit.name] = sizes
        rows += [whole, encode]
    return rows


def pretraining(toolkits: Sequence[Toolkit], work: Path, plan: Plan) -> list[Row]:
    """Measure both variants."""
    data = work / "raw_pretrain"
    generate(data, plan.pretrain_users)
    rows = []
    for variant in VARIANTS:
        for toolkit in toolkits:
            toolkit.tokenize(data, _tok(work, toolkit, variant), "--config", _tokenizer_config(work, variant))
        row = Row(f"pre-train {plan.model_size}, {variant}", "tokens/s", PRETRAIN_BAR)
        for number in range(plan.rounds):
            settings = {
                "max_steps": plan.steps,
                "log_every": plan.steps // 2,
                "token_budget": plan.token_budget,
                "accelerator": "cpu",
                "seed": number,
            }
            for toolkit in toolkits:
                console.print(f"pre-train {variant}, round {number + 1}: {toolkit.name}", style="dim")
                tok = _tok(work, toolkit, variant)
                row.add(toolkit.name, toolkit.pretrain(tok, work / "runs", plan.model_size, settings))
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write JSON where it is asked for."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="pragmatiq-bench-") as scratch:
        work: Path = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        report = {
            **machine(),
            "users": options.users,
            "rounds": options.rounds,
            "steps": options.steps,
            "precision": options.precision,
            "ours": _own_versions(),
        }
        toolkits = [ours(options.precision)]
        parallel = []
        if options.vs_upstream:
            environment = work / "upstream"
            toolkits.append(upstream(environment))
            workers = ("--n-workers", str(CORES))
            parallel.append(upstream(environment, f"upstream, {CORES} workers", workers))
            report["upstream"] = versions(environment / "bin" / "python", "pragmatiq", *PACKAGES)
        plan = Plan(users=options.users, steps=options.steps, rounds=options.rounds)
        tokenized = tokenizing([*toolkits, *parallel], work, plan)
        rows = [*tokenized, *pretraining(toolkits, work, plan)]
    if any(min(speeds) <= 0 for row in rows for speeds in row.speeds.values()):
        raise SystemExit(f"--users {options.users}: too few to tell their time from start-up; measure more")
    console.print(table(rows), sizes_table(tokenized))
    console.print(*(f"{name}: {value}" for name, value in report.items()), sep="\n", highlight=False)
    if options.json:
        report["rows"] = [row.to_dict() for row in rows]
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _beyond_start(toolkit: Toolkit, work: Path, out: str, *options: str | Path) -> float:
    """Seconds that the customers take which are not start-up."""
    start = toolkit.tokenize(work / "raw_one", work / "start", *options)
    return toolkit.tokenize(work / "raw", work / out, *options) - start


def _tok(work: Path, toolkit: Toolkit, variant: str) -> Path:
    return work / f"tok {variant} {toolkit.name}"


def _tokenizer_config(work: Path, variant: str) -> Path:
    path = work / f"tokenizer_{variant}.yaml"
    path.write_text(yaml.safe_dump(VARIANTS[variant]), encoding="utf-8")
    return path


def _own_versions() -> dict[str, str]:
    return versions(sys.executable, "pragmatiq-triton", *PACKAGES)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vs-upstream", action="store_true", help="measure the upstream toolkit too, from PyPI")
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help="times that each is measured (%(default)s)")
    parser.add_argument("--users", type=int, default=Plan.users, help="synthetic customers (default %(default)s)")
    parser.add_argument("--steps", type=int, default=Plan.steps, help="steps, half of them warm-up (%(default)s)")
    precisions = ("auto", "32-true", "bf16-mixed")
    parser.add_argument("--precision", choices=precisions, default="auto", help="of our pre-training (%(default)s)")
    parser.add_argument("--work", type=Path, help="folder to keep everything in, upstream's environment included")
    parser.add_argument("--json", type=Path, help="file for every single measurement")
    options = parser.parse_args(arguments)
    if min(options.users, options.rounds) < 1 or options.steps < 2 or options.steps % 2:
        parser.error("expected --users and --rounds of at least 1, and an even number of --steps")
    return options


if __name__ == "__main__":
    main()
