"""What the commands share: progress on standard error, results on standard output, errors as one line."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pragmatiq_triton.errors import MissingDependencyError, PragmatiqError

EXTRA_OF = {
    "docker": "image",
    "jinja2": "train",
    "lightning_fabric": "train",
    "matplotlib": "train",
    "onnx": "train",
    "onnx_ir": "train",
    "onnxscript": "train",
    "pyarrow": "train",
    "safetensors": "train",
    "sklearn": "train",
    "torch": "train",
    "transformers": "nemotron",
    "onnxruntime": "serve",
    "tritonclient": "client",
    "google": "client",
}

stderr = Console(stderr=True)
stdout = Console()


class RichProgress:
    """Draws stages as bars with counts, the newest note and the time that is left."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=stderr,
        )
        self._newest = self._bars.add_task("", visible=False, note="")

    def stage(self, title: str, total: int | None) -> None:
        self._newest = self._bars.add_task(title, total=total, note="")

    def advance(self, steps: int, note: str = "") -> None:
        self._bars.advance(self._newest, steps)
        if note:
            self._bars.update(self._newest, note=note)

    def __enter__(self) -> "RichProgress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


def show(title: str, values: Mapping[str, Any], as_json: bool) -> None:
    """Print a result: a table for people, one JSON object for programs."""
    if as_json:
        sys.stdout.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")
        return
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in values.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    stdout.print(table)


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Turn the project's errors into one line on standard error and their exit code; other errors are bugs and show."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(MissingDependencyError(f'{error.name} is not installed; run: pip install "pragmatiq-triton[{extra}]"'))
    except PragmatiqError as error:
        _fail(error)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        raise SystemExit(130) from None


def _fail(error: PragmatiqError) -> None:
    stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(error.exit_code)
