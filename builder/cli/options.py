"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

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
Config = Annotated[
    Path | None,
    typer.Option("--config", help="YAML with settings; an unknown one is an error.", exists=True, dir_okay=False),
]
Threads = Annotated[
    str,
    typer.Option(
        "--threads",
        help="Threads to compute with: a number, or auto for as many as cores are idle now (OMP_NUM_THREADS, if set). "
        "On cores that others use too, more threads are slower.",
        metavar="N|auto",
    ),
]
