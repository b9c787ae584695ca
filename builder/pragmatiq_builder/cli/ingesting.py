"""The command that makes raw data of a bank's own tables, and the one that writes its settings."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pragmatiq_builder.cli.aligned import print_aligned
from pragmatiq_builder.cli.console import RichProgress, show, stderr, stdout, to_json
from pragmatiq_builder.cli.options import Json
from pragmatiq_triton.errors import ConfigError

if TYPE_CHECKING:
    from pragmatiq_builder.ingest import IngestReport
    from pragmatiq_builder.ingest.report import FieldReport


class _DefaultGroup(TyperGroup):
    """``pragmatiq ingest FILE`` is ``pragmatiq ingest run FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


HELP = """Make raw data (events, profiles, labels) of your own tables: CSV, parquet, JSON Lines, Arrow, SQL queries.

A YAML file says which columns are customers, times, fields and labels; init writes it with its guesses, ready to be
read and edited. Then: pragmatiq ingest ingest.yaml --out data/raw
"""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(cls=_DefaultGroup, help=HELP, no_args_is_help=True)
    group.command("run")(run)
    group.command("init")(init)
    app.add_typer(group, name="ingest")


def run(
    settings: Annotated[
        Path, typer.Argument(help="ingest.yaml; tables in it lie beside it.", exists=True, dir_okay=False)
    ],
    out: Annotated[
        Path, typer.Option(help="Raw data folder to write; one that ingest wrote is replaced.", file_okay=False)
    ],
    rejected: Annotated[
        Path | None,
        typer.Option(
            help="CSV of the rows that were not written, with table, file, row, reason and record; default: "
            "OUT.rejected.csv.",
            dir_okay=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="HTML page to write with all counts, fields and plots; an older one is replaced.", dir_okay=False
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Most memory for sorting and joining, such as 2GB; the rest waits on the disk beside --out. Less is "
            "slower. Default: four fifths of the machine's.",
            metavar="SIZE",
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Default: one per core.", min=1)] = None,
    json: Json = False,
) -> None:
    """Read the tables, and write events.parquet, profiles.parquet and labels/ in the form that tokenize takes.

    Rows that cannot be read, rows that are there twice and labels of unknown customers go to --rejected, each with its
    reason. Their shares have limits in the file (limits: bad_rows, duplicates, unknown_users); over those nothing is
    written. Without an offset times are of the zone that the file names, or UTC. The same tables give the same bytes.

    Exit codes: 0 written; 2 a setting that does not fit the tables; 3 a table cannot be read, or a limit is exceeded;
    5 DuckDB or a database's driver is missing.
    """
    from pragmatiq_builder.ingest import LimitsExceededError, ingest

    try:
        with RichProgress() as progress:
            found = ingest(settings, out, rejected=rejected, memory=memory, threads=threads, progress=progress)
    except LimitsExceededError as error:
        _show(error.report, f"Not written: {out}", report, json)
        raise
    _show(found, f"Raw data in {out}", report, json)


def init(
    tables: Annotated[
        list[str],
        typer.Argument(help='Tables: files, folders of parts, or patterns in quotes such as "loans/*.parquet".'),
    ],
    out: Annotated[Path, typer.Option(help="YAML file to write.", dir_okay=False)] = Path("ingest.yaml"),
    zone: Annotated[
        str | None,
        typer.Option(help="Zone of times that say none, such as Europe/London; without it UTC.", metavar="NAME"),
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask about each table, with the guess as the default; needs a terminal.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Look at tables, and write the settings of ingest with guesses: customers, times, fields, labels.

    Each guess has a comment with what speaks for it; what could not be told says CHECK. Columns that look like personal
    data (names, e-mail addresses, numbers of cards) and columns that tell nothing are left out, and named. The guesses
    come from names and values, and from what several tables share: name all of them at once.
    """
    from pragmatiq_builder.ingest.draft import draft_settings

    if ask and not sys.stdin.isatty():
        raise ConfigError("--ask needs a terminal; leave it out, and edit the file")
    with RichProgress() as progress:
        questions = partial(_asked, progress) if ask else None
        guesses = draft_settings(tables, out, zone=zone, overwrite=overwrite, ask=questions, progress=progress)
    values = {
        guess.facts.pattern: {
            "kind": guess.kind,
            "user": guess.user,
            "time": guess.time,
            "label": guess.label,
            "event_id": guess.event_id,
            "fields": guess.fields,
            "left_out": guess.left_out,
        }
        for guess in guesses
    }
    if json:
        show("", {"out": str(out), "tables": values}, json)
        return
    stdout.print(f"Guesses in {out}", style="italic", soft_wrap=True)
    for guess in guesses:
        of = ", ".join(part for part in (f"customer {guess.user}", guess.time and f"moment {guess.time}",
                                         guess.label and f"label {guess.label}") if part)  # fmt: skip
        stdout.print(f"{guess.facts.pattern}: {guess.kind}; {of}; {len(guess.fields)} fields", soft_wrap=True)
        for name, reason in guess.left_out.items():
            stdout.print(f"    left out: {name}, {reason}", style="yellow", soft_wrap=True)
    n_checks = sum("CHECK" in line for line in out.read_text(encoding="utf-8").splitlines()[2:])
    stdout.print(f"read it, then: pragmatiq ingest {out} --out raw; {n_checks} lines say CHECK", soft_wrap=True)


def _asked(progress: RichProgress, question: str, default: str, choices: list[str]) -> str:
    with progress.paused():
        stderr.print(f"{question} ({', '.join(choices)})")
        while (answer := str(typer.prompt("", default=default, prompt_suffix="> ", err=True))) not in (
            default,
            *choices,
        ):
            stderr.print(f"{answer!r} is not among them")
    return answer


def _show(report: "IngestReport", title: str, page: Path | None, json: bool) -> None:
    import msgspec

    if page is not None:
        from pragmatiq_builder.ingest.page import write_page

        write_page(report, page, title)
    if json:
        sys.stdout.write(to_json(msgspec.to_builtins(report, str_keys=True)) + "\n")
        return
    stdout.print(title, style="italic", soft_wrap=True)
    for table in report.tables:
        left_out = f", {table.left_out:,} left out by where" if table.left_out else ""
        stdout.print(
            f"{table.where}  {table.table}: {table.read:,} read, {table.written:,} written{left_out}", soft_wrap=True
        )
        for reason, n in table.rejected.items():
            stdout.print(f"    {n:,} {reason}", style="yellow", soft_wrap=True)
        for column, how in table.times.items():
            stdout.print(f"    {column}: {how}", soft_wrap=True)
    if not report.sources:
        return
    lines = [("source", "field", "kind", "missing", "distinct", "range", "examples")]
    lines += [
        (
            each.source,
            each.field,
            each.kind,
            f"{each.missing:.1%}",
            f"{each.distinct:,}",
            _range(each),
            ", ".join(each.examples),
        )
        for each in report.fields
    ]
    print_aligned(lines, words=3)


def _range(field: "FieldReport") -> str:
    return "" if field.least is None else f"{field.least:g} to {field.most:g}"
