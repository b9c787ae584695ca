"""The ``pragmatiq`` application: commands by topic, one exit code per kind of error."""

import typer

from pragmatiq_builder.cli import (
    callers,
    data,
    heads,
    image,
    ingesting,
    installation,
    models,
    predicting,
    runs,
    scoring,
    serving,
)
from pragmatiq_builder.cli.console import errors_as_exit_codes
from pragmatiq_builder.cli.examples import add_examples

HELP = """Train PRAGMA-style banking event models and serve them as a Triton model repository.

The way: ingest (your tables) or synth -> validate -> tokenize -> pretrain -> finetune -> evaluate -> export -> serve ->
score; runs lists and compares runs, predict scores a whole book to a file without a server, warm fills a server's event
cache before it starts, image builds the container image, doctor says what is missing here.

Exit codes: 0 done; 1 other error; 2 wrong option or setting; 3 bad input data; 4 a run, data set or repository that is
damaged or does not match; 5 something is not installed; 6 the server failed or cannot be reached; 130 interrupted
(143: by SIGTERM, 129: by SIGHUP).
"""

app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
installation.register(app)
ingesting.register(app)
data.register(app)
models.register(app)
heads.register(app)
runs.register(app)
serving.register(app)
callers.register(app)
scoring.register(app)
predicting.register(app)
image.register(app)
add_examples(app)


def main() -> None:
    """Run the command line."""
    with errors_as_exit_codes():
        app()
