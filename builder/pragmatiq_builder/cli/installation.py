"""What is installed: the option --version and the command doctor."""

from importlib import metadata
from typing import Annotated

import typer

from pragmatiq_builder.cli.console import show, stderr, stdout
from pragmatiq_builder.cli.options import Json
from pragmatiq_builder.doctor import DISTRIBUTION, NEEDED, examine, lacking, to_dict
from pragmatiq_triton.errors import MissingDependencyError

EXIT_CODE = MissingDependencyError.exit_code
_STYLES = {"ok": "green", "missing": "red", "absent": "yellow"}


def register(app: typer.Typer) -> None:
    """Add this module's option and command."""
    app.callback()(_options)
    app.command()(doctor)


def _print_version(asked: bool) -> None:
    if asked:
        stdout.print(f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None: ...


def doctor(
    need: Annotated[
        list[str] | None,
        typer.Option(
            help="What has to be there, an extra of the package or `server`; once for each. Default: "
            f"{', '.join(NEEDED)}.",
            metavar="PART",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say what is installed, what is missing and the command that brings it.

    Looked at: the extras of the package with their versions, the environment of the embedded server with its libpython,
    cores, memory, and the disk here and for temporary files.

    Ends with 0 where all that is needed is there, with 5 where some of it is missing; what else is absent is named and
    changes nothing.
    """
    checks = examine(need or NEEDED)
    missing = lacking(checks)
    if json:
        show("", to_dict(checks), as_json=True)
    else:
        stdout.print(f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}")
        for check in checks:
            state = "ok" if check.ok else "missing" if check.needed else "absent"
            line = f"{state:8}{check.name}: {check.found} ({check.use})"
            stdout.print(line, style=_STYLES[state], soft_wrap=True)
        for check in checks:
            if check.remedy:
                to = f"for {check.name}{'' if check.needed else ', if you want it'}"
                stdout.print(f"{to}: {check.remedy}", soft_wrap=True)
    if missing:
        stderr.print(f"missing: {', '.join(check.name for check in missing)}")
        raise SystemExit(EXIT_CODE)
