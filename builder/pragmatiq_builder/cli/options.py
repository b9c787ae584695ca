"""Options that several commands take."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pragmatiq_builder.cli.console import stderr
from pragmatiq_builder.shipped_configs import Topic, config_file

TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Let code run that a tokenizer or repository names: a text model's own (trust_remote_code), or the module "
        "of an own text encoder. Read it first. The same as PRAGMATIQ_TRUST_REMOTE_CODE=1.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Tok = Annotated[Path, typer.Argument(help="Tokenized data set.", exists=True, file_okay=False)]


def _config(topic: Topic | None, names: str) -> Any:
    """The option ``--config``, which takes the names of shipped configs of ``topic`` and paths."""

    def file_of(given: str) -> Path:
        path = config_file(given, topic)
        if path != Path(given) and Path(given).is_file():
            stderr.print(f"note: --config {given} is the config of the package; write ./{given} for the file here")
        return path

    return typer.Option(
        "--config",
        help=f"{names}YAML with settings; an unknown one is an error.",
        parser=file_of,
        metavar="NAME|FILE" if topic else "FILE",
    )


Config = Annotated[Path | None, _config(None, "")]
DataConfig = Annotated[Path | None, _config("data", "bpe, hash or nemotron, which come with the package, or a ")]
TrainConfig = Annotated[Path | None, _config("train", "nano or tiny, which come with the package, or a ")]


def features_of_your_own(of_what: str) -> Any:
    """The option ``--features`` of a command; ``of_what`` is the start of its help."""
    return typer.Option(
        "--features",
        help=f"{of_what}: a parquet file or a folder of its parts, with user_id, their moment (eval_ts or ts) "
        "and a column of numbers for each feature. See docs/heads.md.",
        exists=True,
    )


Threads = Annotated[
    str,
    typer.Option(
        "--threads",
        help="Threads to compute with: a number, or auto for as many as cores are idle now (OMP_NUM_THREADS, if set). "
        "On cores that others use too, more threads are slower.",
        metavar="N|auto",
    ),
]
