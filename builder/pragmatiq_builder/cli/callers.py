"""The command that makes keys for callers of the gateway."""

from pathlib import Path
from typing import Annotated

import typer

from pragmatiq_builder.cli.console import show, stderr
from pragmatiq_builder.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("api-key")(api_key)


def api_key(
    name: Annotated[str, typer.Argument(help="The caller, as logs and limits name it.")],
    file: Annotated[
        Path,
        typer.Option(
            help="What settings.yaml names as gateway.auth.api_keys; made if it is not there (0600). It holds hashes "
            "alone.",
            dir_okay=False,
        ),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="The caller has a key: it is taken away, and gets this one.")
    ] = False,
    json: Json = False,
) -> None:
    """Make an API key for a caller of the gateway and print it; it is kept nowhere.

    A running gateway takes it in within a second. To take a key away, remove its line from the file. Callers send
    `authorization: Bearer KEY` or `x-api-key: KEY`.
    """
    from pragmatiq_triton.gateway.auth.api_keys import add_key

    key = add_key(file, name, replace=replace)
    show("API key", {"caller": name, "key": key, "file": str(file)}, json)
    stderr.print("note: the key is shown this once", markup=False, highlight=False)
