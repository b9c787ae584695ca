"""What a user may type for each command: the end of its --help."""

from collections.abc import Iterator, Mapping, Sequence

import typer

EXAMPLES: Mapping[str, Sequence[str]] = {
    "api-key": ("api-key risk-team --file callers.yaml",),
    "doctor": ("doctor", "doctor --need train --need server"),
    "evaluate": ("evaluate data/tok --run runs/bank --task churn_6m --label data/synth/labels/churn_6m.parquet",),
    "export": (
        "export runs/bank --out repository",
        "export runs/bank --out repository --precision int8 --data data/tok "
        "--label churn_6m=data/synth/labels/churn_6m.parquet",
    ),
    "finetune": (
        "finetune data/tok --run runs/bank --label data/synth/labels/churn_6m.parquet --task churn_6m --method probe",
    ),
    "image": ("image --tag pragmatiq-triton:mine",),
    "info": ("info repository", "info runs/bank --json"),
    "ingest init": ("ingest init cards.csv customers.csv labels.csv --out ingest.yaml",),
    "ingest run": ("ingest run ingest.yaml --out data/raw --memory 2GB --report report.html",),
    "predict": (
        "predict data/synth --repository repository --out scores.parquet",
        "predict data/synth --repository repository --out scores.parquet --at data/synth/labels/churn_6m.parquet "
        "--embeddings",
    ),
    "pretrain": ("pretrain data/tok --name bank --model-size small --max-steps 2000",),
    "records": ("records data/synth --out records.jsonl",),
    "runs compare": ("runs compare runs/bank runs/bank-2 --report compared.html",),
    "runs list": ("runs list --runs-root runs",),
    "score": ("score records.jsonl --url 127.0.0.1:8001 --out scores.jsonl",),
    "serve": ("serve repository",),
    "synth": ("synth --out data/synth --users 2000",),
    "tokenize": (
        "tokenize data/synth --out data/tok",
        "tokenize data/next-month --out data/tok-2 --tokenizer-dir runs/bank/tokenizer",
    ),
    "validate": ("validate data/synth",),
    "warm": ("warm repository data/synth --cache-folder cache",),
}
"""By command, without the name of the program; data/synth is what synth writes, and data/raw what ingest does."""


def add_examples(app: typer.Typer) -> None:
    """Put each command's examples under its help; KeyError for a command that has none."""
    for name, command in _commands(app):
        lines = [f"pragmatiq {line}" for line in EXAMPLES[name]]
        # A blank line keeps the lines apart, which are filled otherwise.
        command.epilog = "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])


def _commands(app: typer.Typer, group: str = "") -> Iterator[tuple[str, typer.models.CommandInfo]]:
    for command in app.registered_commands:
        named = command.name or command.callback.__name__.replace("_", "-")  # type: ignore[union-attr]
        yield f"{group}{named}", command
    for inner in app.registered_groups:
        if inner.typer_instance:
            yield from _commands(inner.typer_instance, f"{group}{inner.name} ")
