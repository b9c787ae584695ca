"""How good the scores are: text variants and methods, task by task, each against the same baselines with intervals.

Runs the commands that a user would type and keeps everything below ``--work``: what is there already is not made again,
so an interrupted run goes on, and a table is printed from what there is with ``--only-report``.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import msgspec

from bench.report import machine
from pragmatiq_builder.heads.saved import evaluation_file
from pragmatiq_builder.metrics import Evaluation
from pragmatiq_builder.metrics.intervals import Difference, Estimate

ROOT = Path(__file__).parents[1]
SETTINGS = """\
model_size: {size}
max_steps: {steps}
token_budget: {token_budget}
warmup_steps: 30
"""
TOKEN_BUDGETS = {"bpe": 26_624, "hash": 16_384, "minilm": 16_384}
"""Event tokens of a batch: BPE cuts the same events into 1.63 times as many, so all see equally many events."""


@dataclass(frozen=True)
class Data:
    """Raw data to pre-train on, for so many steps, and the tasks with the raw data that their labels belong to."""

    name: str
    folder: Path
    steps: int
    tasks: tuple[str, ...]
    labelled: Path


def pragmatiq(*arguments: str | Path) -> None:
    """Run one command as a user would."""
    words = [str(argument) for argument in arguments]
    sys.stderr.write(f"$ pragmatiq {' '.join(words)}\n")
    subprocess.run([sys.executable, "-m", "pragmatiq_builder.cli", *words], check=True, stdout=subprocess.DEVNULL)


def synthetic(users: int, work: Path) -> Path:
    """Raw data of the first ``users`` customers of the generator."""
    folder = work / f"synth_{users}"
    if not (folder / "labels").exists():
        pragmatiq("synth", "--out", folder, "--users", str(users))
    return folder


def tokenized(data: Data, variant: str, work: Path, text_model: Path | None) -> Path:
    """The data set of one text variant."""
    tok = work / "tok" / f"{data.name}_{variant}"
    if (tok / "meta.json").exists():
        return tok
    config = ROOT / "configs" / "data" / f"tokenizer_{variant}.yaml"
    extra = []
    if variant == "minilm":
        config = work / "tokenizer_minilm.yaml"
        # No text_prefix: MiniLM knows none.
        config.write_text("text_value_mode: embed\ntext_encoder: nemotron\n", encoding="utf-8")
        extra = ["--text-model", text_model] if text_model else []
    pragmatiq("tokenize", data.folder, "--out", tok, "--config", config, *extra)
    return tok


def pretrained(data: Data, variant: str, tok: Path, work: Path, size: str) -> Path:
    """The run of one text variant."""
    run = work / "runs" / f"{data.name}_{variant}_{size}_{data.steps}"
    if (run / "checkpoints" / "last").exists():
        return run
    settings = SETTINGS.format(size=size, steps=data.steps, token_budget=TOKEN_BUDGETS[variant])
    config = work / f"{run.name}.yaml"
    config.write_text(settings, encoding="utf-8")
    pragmatiq("pretrain", tok, "--name", run.name, "--config", config, "--runs-root", run.parent, "--resume", "auto")
    return run


def labelled(data: Data, variant: str, tok: Path, run: Path, work: Path) -> Path:
    """The data set of the labelled users, by the run's tokenizer."""
    if data.labelled == data.folder:
        return tok
    out = work / "tok" / f"{data.labelled.name}_{variant}"
    if not (out / "meta.json").exists():
        pragmatiq("tokenize", data.labelled, "--out", out, "--tokenizer-dir", run / "tokenizer")
    return out


def evaluated(data: Data, task: str, method: str, tok: Path, run: Path, work: Path, folds: int) -> None:
    """Fit one head and evaluate it on the held-out part and, where ``folds`` is not 0, by cross-validation."""
    label = data.labelled / "labels" / f"{task}.parquet"
    where = ["--run", run, "--label", label, "--task", task]
    outs = {n_folds: result_folder(run, task, method, n_folds, work) for n_folds in dict.fromkeys((0, folds))}
    if all((out / evaluation_file(n_folds)).exists() for n_folds, out in outs.items()):
        return
    pragmatiq("finetune", tok, *where, "--method", method, "--overwrite")
    for n_folds, out in outs.items():
        pragmatiq("evaluate", tok, *where, "--out", out, "--folds", str(n_folds), "--overwrite")


def result_folder(run: Path, task: str, method: str, folds: int, work: Path) -> Path:
    return work / "results" / f"{run.name}.{task}.{method}.{'cv' if folds else 'test'}"


def table(work: Path) -> str:
    """Every evaluation below ``work`` as Markdown, by task and protocol."""
    files = sorted((work / "results").glob("*/evaluation*.json"))
    results = [msgspec.json.decode(file.read_bytes(), type=Evaluation) for file in files]
    lines = []
    for rows in sorted({_rows(result) for result in results}):
        chosen = [result for result in results if _rows(result) == rows]
        lines += [
            f"\n{rows}\n",
            "| run | method | ROC-AUC | PR-AUC | over features, ROC-AUC | over features, PR-AUC |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for name in ("counts", "features"):
            lines.append(f"| baseline | {name} | {_cells(chosen[0].metrics[name])} | | |")
        for result in chosen:
            over = result.differences["features"]
            lines.append(
                f"| {result.run} | {result.method} | {_cells(result.metrics[result.candidate])} | "
                f"{_difference(over['roc_auc'])} | {_difference(over['pr_auc'])} |"
            )
    return "\n".join(lines)


def _rows(result: Evaluation) -> str:
    """What the result was measured on: only results of the same rows stand side by side."""
    test = result.splits["test"]
    counts = f"{test.rows:,} rows of {test.users:,} users, {test.positives:,} positive"
    return f"`{result.task}`, {result.protocol}: {counts}"


def _cells(metrics: dict[str, Estimate]) -> str:
    return " | ".join(
        f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in (metrics["roc_auc"], metrics["pr_auc"])
    )


def _difference(difference: Difference) -> str:
    numbers = f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    return f"{numbers} {difference.verdict}{', intervals apart' if difference.separate else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("quality"), help="folder of everything that is made")
    parser.add_argument("--birmingham", type=Path, default=ROOT / "tests" / "data" / "birmingham", help="raw data")
    parser.add_argument("--birmingham-steps", type=int, default=1000, help="0: leave it out")
    parser.add_argument("--synth-steps", type=int, default=400, help="0: leave it out")
    parser.add_argument("--users", type=int, default=2000, help="synthetic customers to pre-train on")
    parser.add_argument("--labelled-users", type=int, help="synthetic customers with labels; default: the same")
    parser.add_argument("--size", default="nano", help="network size")
    parser.add_argument("--variants", nargs="+", default=["bpe", "hash"], choices=list(TOKEN_BUDGETS))
    parser.add_argument("--methods", nargs="+", default=["probe", "hybrid"], choices=["probe", "hybrid", "lora"])
    parser.add_argument("--text-model", type=Path, help="folder of the encoder of the variant minilm")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only-report", action="store_true")
    arguments = parser.parse_args()
    work: Path = arguments.work
    if not arguments.only_report:
        real, synth = arguments.birmingham, synthetic(arguments.users, work)
        more = synthetic(arguments.labelled_users or arguments.users, work)
        plan = (
            Data("birmingham", real, arguments.birmingham_steps, ("inactive_180d",), real),
            Data("synth", synth, arguments.synth_steps, ("default_12m", "fraud"), more),
        )
        for data, variant in product((each for each in plan if each.steps), arguments.variants):
            tok = tokenized(data, variant, work, arguments.text_model)
            run = pretrained(data, variant, tok, work, arguments.size)
            tok = labelled(data, variant, tok, run, work)
            for task, method in product(data.tasks, arguments.methods):
                # Adapters are fitted anew in every fold: too long for a table.
                evaluated(data, task, method, tok, run, work, 0 if method == "lora" else arguments.folds)
    sys.stdout.write("\n".join(f"{name}: {value}" for name, value in machine().items()))
    sys.stdout.write(f"\n{table(work)}\n")


if __name__ == "__main__":
    main()
