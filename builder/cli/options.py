"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Tok = Annotated[Path, typer.Argument(help="Tokenized data set.", exists=True, file_okay=False)]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="YAML with settings; an unknown one is an error.", exists=True, dir_okay=False),
]
