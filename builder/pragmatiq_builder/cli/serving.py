"""Commands around a model repository: warm, serve, info."""

import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pragmatiq_builder.cli.console import RichProgress, show, stderr
from pragmatiq_builder.cli.options import Json, TrustRemoteCode
from pragmatiq_triton.operator_settings import REPOSITORY, SETTINGS_VARIABLE

Repository = Annotated[Path, typer.Argument(help="Model repository that export wrote.", exists=True, file_okay=False)]
ServerEnv = Annotated[
    Path | None,
    typer.Option(
        help="Python environment with the server's wheel; default: .venv-serve here or beside this one.",
        file_okay=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (warm, serve, info):
        app.command()(command)


def warm(
    repository: Repository,
    data: Annotated[
        Path, typer.Argument(help="The customers: a raw data folder, or a file of JSON records.", exists=True)
    ],
    cache_folder: Annotated[
        Path, typer.Option(help="What serve gets as --cache-folder; what is there stays.", file_okay=False)
    ],
    users: Annotated[int | None, typer.Option(help="Only the first so many customers.", min=1)] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            help="The settings.yaml that the server gets: its event_cache_bytes bound what is kept.",
            exists=True,
            dir_okay=False,
            envvar=SETTINGS_VARIABLE,
        ),
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Compute the event vectors of a book of customers, so that a server's first requests find them.

    A server takes them in when it starts. A bad record is counted and does not stop the others; the command then ends
    with 3.
    """
    from pragmatiq_builder.export.warm import warm as fill

    with RichProgress() as progress:
        warmed = fill(
            repository, data, cache_folder, users, progress, trusted=trust_remote_code or None, settings_file=settings
        )
    scorers = {
        name: f"{of.hits:,} of {of.events:,} events found; {of.entries:,} entries, {of.bytes:,} bytes"
        for name, of in warmed.scorers.items()
    }
    unknown = f"{warmed.unknown_values:,} of {warmed.values:,} ({warmed.unknown_values / max(warmed.values, 1):.1%})"
    short = {"records": warmed.records, "refused": warmed.refused, "values that are [UNK]": unknown, **scorers}
    show(f"Event vectors in {cache_folder}", asdict(warmed) if json else short, json)
    for name, of in warmed.scorers.items():
        if of.evicted:
            stderr.print(
                f"note: {name} keeps {of.entries:,} of {of.entries + of.evicted:,} event vectors, the last used; "
                f"for more set {name}: {{event_cache_bytes: …}} in settings.yaml",
                markup=False,
                highlight=False,
            )
    for warning in warmed.warnings:
        stderr.print(f"warning: {warning}", style="yellow")
    if warmed.refused:
        refusal = f"{data}: {warmed.refused} of {warmed.records} records were refused: {warmed.first_refusal}"
        stderr.print(refusal, style="red")
        raise SystemExit(3)


def serve(
    repository: Repository,
    http_port: Annotated[int, typer.Option(help="0: any free port.", min=0, max=65535)] = 8000,
    grpc_port: Annotated[int, typer.Option(help="0: any free port.", min=0, max=65535)] = 8001,
    metrics_port: Annotated[int, typer.Option(help="0: any free port.", min=0, max=65535)] = 8002,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. One that the network reaches, such as 0.0.0.0, needs callers' keys and TLS in "
            "--settings, or the words there that it is meant to be open."
        ),
    ] = "127.0.0.1",
    no_gateway: Annotated[
        bool,
        typer.Option(
            "--no-gateway",
            help="Have callers reach Triton itself, for benches and tests. Nothing then checks requests, limits "
            "callers or closes the inner models; refused off loopback for a Triton older than 2.59 (25.07).",
        ),
    ] = False,
    settings: Annotated[
        Path | None,
        typer.Option(
            help="A settings.yaml: under `gateway` who may call, TLS, and limits; under a model's name its parameters "
            "and instances. Variables PRAGMATIQ_GATEWAY_… and PRAGMATIQ_MODEL_… win over it.",
            exists=True,
            dir_okay=False,
            envvar=SETTINGS_VARIABLE,
        ),
    ] = None,
    server_env: ServerEnv = None,
    cache_folder: Annotated[
        Path | None,
        typer.Option(
            help="Keep event vectors here from one start to the next: warm at once, at the price of what customers did "
            "lying on disk as vectors, beside the secret of their keys. Made readable by this account alone (0700).",
            file_okay=False,
        ),
    ] = None,
    startup_timeout: Annotated[float, typer.Option(help="Seconds until every model must be ready.", min=1)] = 120.0,
    log_file: Annotated[
        Path | None,
        typer.Option(
            help="Append the server's own log here and keep it: 16 MiB at most, the older half in FILE.1. Default: "
            "server-PORT.log in ~/.local/state/pragmatiq ($XDG_STATE_HOME), the access log beside it; with "
            "--http-port 0 the log ends with the server.",
            dir_okay=False,
        ),
    ] = None,
    skip_verification: Annotated[
        bool,
        typer.Option(
            "--skip-verification",
            help="Serve what is there, whatever manifest.json says: ready sooner, and nobody notices another run's "
            "heads or a damaged file. For repositories made by hand.",
        ),
    ] = False,
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Serve a model repository until Ctrl-C: a gateway that callers reach, and the embedded Triton behind it.

    Prints the gateway's URLs once every model answers. Triton itself listens on 127.0.0.1, on ports of its own choice.

    Before the start every file is held against the hash in manifest.json; a changed, missing or foreign one ends the
    command with 4. Settings are laid over a view of the repository, which is never written.

    TERM, INT and HUP (unless nohup has it ignored) stop it, exit code 0: new calls are refused, those under way
    finished, 30 seconds at most. A second one ends it at once and gives them up, exit code 130. However it ends,
    kill -9 included, its server ends with it.

    Every 2 seconds a record without events goes through each ensemble. Where that shows that a model's process is
    dead, which Triton does not mend and its readiness does not tell, or where Triton or the gateway has ended, the
    server is stopped and the command ends with 6. Slow answers are no death; 10 in a row that fail, or have not come
    after 30 seconds each, are.
    """
    from pragmatiq_builder.serve import Serving
    from pragmatiq_triton.stop_signals import StopSignals

    with StopSignals() as signals:
        serving = Serving(
            repository,
            signals,
            say=_say,
            server_env=server_env,
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            host=host,
            settings_file=settings,
            startup_timeout=startup_timeout,
            cache_folder=cache_folder,
            log_file=log_file,
            verified=not skip_verification,
            gateway=not no_gateway,
            trust_remote_code=trust_remote_code,
        )
        urls = serving.start()
        if urls and sys.stdout:
            with suppress(OSError):
                show("Serving", urls, json)
                sys.stdout.flush()
        in_order = serving.until_the_end()
    if not in_order:
        raise SystemExit(130)


def _say(line: str) -> None:
    """On standard error; a terminal that is gone does not end a server."""
    with suppress(OSError):
        stderr.print(line, markup=False, highlight=False, soft_wrap=True)


def info(
    path: Annotated[
        Path | None, typer.Argument(help="A run, a tokenized data set or a model repository.", exists=True)
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            help="With a repository: the settings.yaml that a server would get; variables count too.",
            exists=True,
            dir_okay=False,
            envvar=SETTINGS_VARIABLE,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Describe a run, data set or repository; without one, what is installed and whether a server can start here."""
    from pragmatiq_builder.cli.fields import show_fields
    from pragmatiq_builder.info import describe

    title, values, fields = describe(path, settings)
    if not json and "settings" in values:
        values["settings"] = {
            model: {name: " ".join((each["value"], *[f"({each['source']})"] * (each["source"] != REPOSITORY)))
                    for name, each in found.items()}
            for model, found in values["settings"].items()
        }  # fmt: skip
    show(title, {**values, **fields.to_dict()} if fields and json else values, json)
    if fields:
        show_fields(fields, json)
    if "runs_code" in values:
        stderr.print(
            f"caution: runs {values['runs_code']}; read it first", markup=False, highlight=False, soft_wrap=True
        )
