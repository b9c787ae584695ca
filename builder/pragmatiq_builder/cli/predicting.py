"""The command that predicts a book of customers without a server."""

from pathlib import Path
from typing import Annotated

import typer

from pragmatiq_builder.cli.console import RichProgress, show, stderr
from pragmatiq_builder.cli.options import Json, TrustRemoteCode, features_of_your_own


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(predict)


def predict(
    data: Annotated[
        Path,
        typer.Argument(
            help="Raw data folder (events.parquet, profiles.parquet), or a file with one JSON record per line, plain "
            "or gzip.",
            exists=True,
        ),
    ],
    repository: Annotated[
        Path, typer.Option(help="Model repository, as export wrote it.", exists=True, file_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="Parquet file to write; one that exists is refused.", dir_okay=False)],
    at: Annotated[
        Path | None,
        typer.Option(
            help="Parquet with user_id and eval_ts (the history strictly before it) or ts (the event of that moment, "
            "and what is strictly before it): a row for each of its rows. A label is not read.",
            exists=True,
        ),
    ] = None,
    features: Annotated[
        Path | None,
        features_of_your_own("The features of your own that heads were fitted with, without --at one row a customer"),
    ] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Write each customer's embedding too.")] = False,
    shard: Annotated[
        str, typer.Option(help="Only the I-th of N parts of the customers, so that N machines do it.", metavar="I/N")
    ] = "1/1",
    rejected: Annotated[
        Path | None,
        typer.Option(help="Where refused rows go, each with its reason; default: OUT.rejected.", dir_okay=False),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with what an earlier call left; nothing is to do where it is complete."),
    ] = False,
    processes: Annotated[int | None, typer.Option(help="Default: one per core.", min=1)] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="The server's settings.yaml, so that the limits are its.", exists=True, dir_okay=False),
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Score a whole book of customers to a parquet file, on all cores and without a server.

    The scores are those that the server gives, to 1e-6. A column for each task, a row for each customer, or with --at
    for each row of that file. A record that breaks the contract is written to --rejected and does not stop the others.
    After a kill the same command with --resume goes on.

    Exit codes: 0 every row has its scores; 3 rows were refused; 2 an option that cannot be meant, such as an --out that
    exists.
    """
    from dataclasses import asdict

    from pragmatiq_builder.predict import predict as run
    from pragmatiq_builder.predict.requests import Shard
    from pragmatiq_triton.errors import DataError

    with RichProgress() as progress:
        done = run(
            data,
            repository,
            out,
            at=at,
            features=features,
            embeddings=embeddings,
            shard=Shard.of(shard),
            rejected=rejected,
            resume=resume,
            processes=processes,
            trusted=True if trust_remote_code else None,
            settings_file=settings,
            progress=progress,
        )
    values = asdict(done)
    people = {name: value for name, value in values.items() if name != "notes"} | {
        "tasks": ", ".join(done.tasks) or "none",
        "rejected": done.rejected or "none",
    }
    show(f"Predictions in {out}", values if json else people, json)
    for note in done.notes:
        stderr.print(f"warning: {note}", style="yellow", highlight=False, soft_wrap=True)
    if done.rows_without_features:
        stderr.print(
            f"{features}: has no row for {done.rows_without_features:,} rows; their own features count as unknown",
            style="yellow",
        )
    if done.refused:
        stderr.print(
            f"{data}: {done.refused:,} of {done.rows + done.refused:,} rows were refused; they are in {done.rejected}",
            style="red",
        )
        raise SystemExit(DataError.exit_code)
