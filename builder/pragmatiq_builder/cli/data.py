"""Commands that make and read data: synth, validate, records, tokenize."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pragmatiq_builder.cli.console import RichProgress, show, stderr, stdout
from pragmatiq_builder.cli.options import DataConfig, Json, Threads, TrustRemoteCode
from pragmatiq_builder.settings import read_settings
from pragmatiq_builder.threads import AUTO, set_threads

if TYPE_CHECKING:
    from pragmatiq_triton.time_range import TimeRange

RawData = Annotated[
    Path,
    typer.Argument(
        help="Folder with events.parquet and, optional, profiles.parquet; each a file or a folder of parts.",
        exists=True,
        file_okay=False,
    ),
]
EarliestTime = Annotated[
    str | None,
    typer.Option(
        help="Date before which no event, as_of or label is plausible, as the tokenizer's setting earliest_time; "
        "1971-01-01 without one.",
        metavar="DATE",
    ),
]
TokenizerDir = Annotated[
    Path | None,
    typer.Option(
        help="Fitted tokenizer whose plausible times, those around its training data, are asked for instead.",
        exists=True,
        file_okay=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (synth, validate, records, tokenize):
        app.command()(command)


def synth(
    out: Annotated[Path, typer.Option(help="Folder to write; its parquet files are replaced.", file_okay=False)],
    users: Annotated[int, typer.Option(help="How many customers.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Generate customers with habits, and labels (fraud, default_12m, churn_6m) that their histories explain."""
    from pragmatiq_builder.synth import generate

    with RichProgress() as progress:
        summary = generate(out, users, seed, progress)
    show(f"Synthetic data in {out}", asdict(summary), json)


def validate(
    data: RawData, earliest_time: EarliestTime = None, tokenizer_dir: TokenizerDir = None, json: Json = False
) -> None:
    """Check a raw data folder against the contract and say where it is broken; ends with 3 if it is."""
    from pragmatiq_builder.raw.validation import validate as check

    times = _plausible(earliest_time, tokenizer_dir)
    with RichProgress() as progress:
        report = check(data, progress, times)
    values = report.to_dict()
    if json:
        show("", values, json)
    else:
        of_findings = {"ok", "errors", "warnings", "first_ts", "last_ts"}
        show(f"Raw data in {data}", {name: value for name, value in values.items() if name not in of_findings}, json)
        for kind, style, findings in (("error", "red", report.errors), ("warning", "yellow", report.warnings)):
            for finding in findings:
                stdout.print(f"{kind}: {finding.line()}", style=style, soft_wrap=True)
        counts = f"errors: {len(report.errors)}, warnings: {len(report.warnings)}"
        stdout.print(f"{'ok' if report.ok else 'broken'}; {counts}")
    if report.errors:
        raise SystemExit(3)


def records(
    data: RawData,
    out: Annotated[Path, typer.Option(help="File to write, one JSON record per line.", dir_okay=False)],
    users: Annotated[int | None, typer.Option(help="Only the first so many users.", min=1)] = None,
    earliest_time: EarliestTime = None,
    tokenizer_dir: TokenizerDir = None,
    json: Json = False,
) -> None:
    """Write raw data as the JSON records that a service sends: a file for score."""
    from pragmatiq_builder.raw.records import write_records

    times = _plausible(earliest_time, tokenizer_dir)
    with RichProgress() as progress:
        n_records = write_records(data, out, users, progress, times)
    show(f"Records in {out}", {"records": n_records}, json)


def tokenize(
    data: RawData,
    out: Annotated[
        Path, typer.Option(help="Tokenized data set to write; an older one there is replaced.", file_okay=False)
    ],
    config: DataConfig = None,
    tokenizer_dir: Annotated[
        Path | None,
        typer.Option(
            help="Use this fitted tokenizer instead of fitting one: for new data of a trained run, ours or upstream's.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    text_model: Annotated[
        Path | None,
        typer.Option(
            help="Local folder with the frozen text model, in place of the hub model that the config names.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    threads: Threads = AUTO,
    json: Json = False,
) -> None:
    """Fit a tokenizer on a raw data folder and encode it; prints what each field holds and what becomes of it.

    Read the warnings: each names a field that may not be what it became, and the setting (force_numeric,
    force_categorical, force_text, drop_fields, missing_values, max_event_tokens) that changes it.

    With --tokenizer-dir it also says, by field, how much of the data the tokenizer does not know: unseen values,
    sources and fields, and numbers outside the buckets, beside the share in the data that it was fitted on. What is
    notably more is a warning.

    With text_value_mode: embed in the config, each distinct string is embedded once by the frozen text model, here;
    an interrupted run goes on where it stopped. The later steps need no switch: they read the data set.
    """
    from pragmatiq_builder.cli.fields import show_fields
    from pragmatiq_builder.dataset.field_table import FieldTable
    from pragmatiq_builder.dataset.tokenize import tokenize as run
    from pragmatiq_triton.errors import ConfigError
    from pragmatiq_triton.tokenizer import TokenizerConfig

    if config and tokenizer_dir:
        raise ConfigError("--config and --tokenizer-dir exclude each other: a fitted tokenizer carries its settings")
    settings = TokenizerConfig.from_settings(read_settings(config))
    if settings.embeds_text or tokenizer_dir:
        # A frozen text model computes.
        set_threads(threads)
    with RichProgress() as progress:
        summary = run(
            data,
            out,
            settings,
            tokenizer_dir=tokenizer_dir,
            text_model=text_model,
            trusted=trust_remote_code or None,
            progress=progress,
        )
    fields = FieldTable.load(out)
    assert fields, "tokenize writes the table"
    show(f"Tokenized data set in {out}", {**asdict(summary), **fields.to_dict()} if json else asdict(summary), json)
    show_fields(fields, json)
    if not json:
        stderr.print(f"next: pragmatiq pretrain {out} --name NAME")


def _plausible(earliest_time: str | None, tokenizer_dir: Path | None) -> "TimeRange":
    """The times that the options of a command make plausible."""
    from pragmatiq_triton.errors import ConfigError
    from pragmatiq_triton.time_range import PLAUSIBLE
    from pragmatiq_triton.tokenizer import Vocabulary

    if tokenizer_dir is None:
        return PLAUSIBLE.with_bounds(earliest_time, None)
    if earliest_time is not None:
        raise ConfigError("--earliest-time and --tokenizer-dir exclude each other: a fitted tokenizer says its times")
    return Vocabulary.load(tokenizer_dir).times
