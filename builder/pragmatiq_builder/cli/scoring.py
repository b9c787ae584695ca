"""The command that scores a file of records."""

import json as json_module
import sys
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pragmatiq_builder.cli.console import RichProgress, show, stderr, stdout

if TYPE_CHECKING:
    from pragmatiq_builder.score import LineAnswer
    from pragmatiq_builder.score_input import Line
    from pragmatiq_builder.score_output import ResultFiles
    from pragmatiq_client import TLS


_LOST = {"refused": "were ", "failed": ""}


class Protocol(StrEnum):
    """How to talk to the server."""

    GRPC = "grpc"
    HTTP = "http"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(score)


def score(
    file: Annotated[
        Path, typer.Argument(help="One JSON record per line, in UTF-8; gzip is read too.", exists=True, dir_okay=False)
    ],
    url: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT, or a URL with grpc://, grpcs://, http:// or https://; default localhost with the "
            "protocol's own port."
        ),
    ] = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option(help="gRPC is faster; HTTP passes more proxies. Default: what the URL says, else gRPC."),
    ] = None,
    model: Annotated[str, typer.Option(help="The ensemble to ask.")] = "scoring",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the answers there, one JSON object per record, in order.", dir_okay=False),
    ] = None,
    rejected: Annotated[
        Path | None,
        typer.Option(
            help="With --out: where records without an answer are kept, with the reason; default: OUT.rejected.",
            dir_okay=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where --out ends.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for one record, retries included.", min=0.001)] = 30.0,
    wait: Annotated[
        float | None,
        typer.Option(
            help="Seconds without a server after which to give up. Default: 300 once it has answered, before that "
            "--timeout.",
            min=0,
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Records under way at once; more let the server batch.", min=1)] = 8,
    ca: Annotated[
        Path | None, typer.Option(help="PEM file of the authorities that sign the server's certificate.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file of the client's own certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its private key.")] = None,
    server_name: Annotated[
        str | None, typer.Option(help="The name in the server's certificate, if not the host.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(help="NAME:VALUE, sent with every request; may be given many times.")
    ] = None,
    proxy: Annotated[bool, typer.Option(help="Use the proxies of the environment (never for this machine).")] = True,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object per record, embedding included; with --out one of counts."),
    ] = False,
) -> None:
    """Score the records of a file and print the answers in their order, or write them to --out.

    A record that the server refuses, or fails on, is reported with its line and does not stop the others. A server that
    goes away is waited for. After an end of whatever kind (a kill, a full disk, a server that does not come back) the
    same command with --resume goes on where --out ends; nothing is scored twice or left out.

    Exit codes: 0 every record has an answer; 3 records were refused; 6 records failed, or the server is away; 2 an
    option that cannot be meant, such as an --out that exists. With --resume they are about the whole output.
    """
    from pragmatiq_builder.score import Server, score_lines
    from pragmatiq_builder.score_input import read_lines
    from pragmatiq_builder.score_output import ResultFiles
    from pragmatiq_triton.errors import ConfigError, DataError

    if out is None and (resume or rejected is not None):
        raise ConfigError(f"{'--resume' if resume else '--rejected'} needs --out")
    default = f"localhost:{8000 if protocol is Protocol.HTTP else 8001}"
    server = Server(
        url or default,
        protocol.value if protocol is not None else None,
        model,
        timeout,
        wait,
        _certificates(ca, certificate, key, server_name),
        _headers(header or []),
        proxy,
    )
    server.client()  # says what is wrong with the options before anything is written
    lines = read_lines(file)
    first = next(lines, None)
    if first is None:
        raise DataError(f"{file}: all lines are blank; expected one JSON record per line")
    lines = chain([first], lines)
    if out is None:
        counts: Counter[str] = Counter()
        for answers in score_lines(lines, server, concurrency):
            counts.update(answer.kind for answer in answers)
            for answer in answers:
                _print(answer, json)
        _end(counts, "")
        return
    with ResultFiles(out, rejected or out.with_name(f"{out.name}.rejected"), resume) as files:
        try:
            with RichProgress() as progress:
                progress.stage("Scoring", None)
                for answers in score_lines(_after(lines, files, file), server, concurrency):
                    files.write(answers)
                    told = [f"{files.counts[kind]:,} {kind}" for kind in _LOST if files.counts[kind]]
                    progress.advance(len(answers), ", ".join(told))
        except BaseException:
            if files.done:
                stderr.print(f"{out}: up to line {files.done:,} all is kept; --resume goes on from there")
            raise
    show("Scored", _summary(files), json)
    _end(files.counts, f"; they are in {files.rejected}")


def _after(lines: Iterator["Line"], files: "ResultFiles", file: Path) -> Iterator["Line"]:
    """The lines that are still to be scored; the last one that is done has to be what the output says."""
    from pragmatiq_builder.score import user_id_of
    from pragmatiq_triton.errors import ConfigError

    if files.repaired:
        stderr.print(f"{files.out}: what was cut off at its end is scored again")
    if files.done:
        stderr.print(f"{files.out}: going on after line {files.done:,}")
    seen = not files.done
    for line in lines:
        if line.number == files.done:
            user_id = user_id_of(line.raw) if line.raw is not None else "?"
            seen = user_id == files.last_user
        if line.number >= files.done and not seen:
            break
        if line.number > files.done:
            yield line
    if not seen:
        raise ConfigError(
            f"{files.out}: its line {files.done:,} is of user {files.last_user!r}, which that line of {file} is not: "
            "--resume needs the same file"
        )


def _certificates(ca: Path | None, certificate: Path | None, key: Path | None, server_name: str | None) -> "TLS | None":
    from pragmatiq_client import TLS
    from pragmatiq_triton.errors import ConfigError

    if ca is None and certificate is None and key is None and server_name is None:
        return None
    try:
        return TLS(ca, certificate, key, server_name)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _headers(given: list[str]) -> dict[str, str]:
    from pragmatiq_triton.errors import ConfigError

    headers = {}
    for number, header in enumerate(given, 1):
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"--header: expected NAME:VALUE, got no name and colon in the one of number {number}")
        headers[name.strip()] = value.strip()
    return headers


def _print(answer: "LineAnswer", as_json: bool) -> None:
    if as_json:
        ascii_only = (getattr(sys.stdout, "encoding", None) or "").lower().replace("_", "-") not in ("utf-8", "utf8")
        sys.stdout.write(json_module.dumps(answer.as_dict(), ensure_ascii=ascii_only) + "\n")
    else:
        stdout.print(answer.as_line(), markup=False, highlight=False, soft_wrap=True)


def _summary(files: "ResultFiles") -> dict[str, object]:
    kinds = {kind: files.counts[kind] for kind in ("answered", *_LOST)}
    paths = {"out": str(files.out), "rejected": str(files.rejected)}
    return {"records": files.counts.total(), **kinds, "last_line": files.done, **paths}


def _end(counts: Counter[str], where: str) -> None:
    """Say how many records have no answer and where they are, and end with their code."""
    from pragmatiq_triton.errors import DataError, ServerError

    total = f"of {counts.total():,} records"
    told = [f"{counts[kind]:,} {total} {verb}{kind}" for kind, verb in _LOST.items() if counts[kind]]
    if told:
        stderr.print("; ".join(told) + where, style="red")
        raise SystemExit(ServerError.exit_code if counts["failed"] else DataError.exit_code)
