"""What the commands share: progress on standard error, results on standard output, errors as one line."""

import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pragmatiq_builder.cli.output import checked_output, is_utf8
from pragmatiq_triton.errors import MissingDependencyError, PragmatiqError

EXTRA_OF = {
    "adbc_driver_postgresql": "databases",
    "adbc_driver_sqlite": "databases",
    "docker": "image",
    "duckdb": "train",
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

# What users name is shown as it is: a path "R[/x]" is no markup, ":bank:" no picture.
stderr = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
stdout = Console(markup=False, highlight=False, emoji=False)

SECONDS_PER_LINE = 10.0
"""Where there is no terminal, a stage tells how far it is at most this often."""


class RichProgress:
    """Stages as bars on a terminal and in a notebook, and as plain lines where standard error is a file or a pipe."""

    def __init__(self) -> None:
        notebook = Console(emoji=False)
        if notebook.is_jupyter:
            self._shown: _Bars | _Lines = _Bars(notebook)
        else:
            self._shown = _Bars(stderr) if stderr.is_terminal and sys.stderr.isatty() else _Lines()

    def stage(self, title: str, total: int | None) -> None:
        self._shown.stage(title, total)

    def advance(self, steps: int, note: str = "") -> None:
        self._shown.advance(steps, note)

    def say(self, line: str) -> None:
        stderr.print(line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While it asks something: bars would be drawn over the question."""
        self._shown.stop()
        try:
            yield
        finally:
            self._shown.start()

    def __enter__(self) -> Self:
        self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.stop()


class _Bars:
    """Bars with counts, the newest note and the time that is left."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
        )
        self._newest = self._bars.add_task("", visible=False, note="")

    def start(self) -> None:
        self._bars.start()

    def stage(self, title: str, total: int | None) -> None:
        self._newest = self._bars.add_task(title, total=total, note="")

    def advance(self, steps: int, note: str = "") -> None:
        self._bars.advance(self._newest, steps)
        if note:
            self._bars.update(self._newest, note=note)

    def stop(self) -> None:
        self._bars.stop()


class _Lines:
    """A line when a stage begins, one every :data:`SECONDS_PER_LINE` seconds, and one at its end if that took long."""

    def __init__(self) -> None:
        self._title, self._done, self._note = "", 0, ""
        self._total: int | None = None
        self._told, self._untold = time.monotonic(), False

    def start(self) -> None:
        pass

    def stage(self, title: str, total: int | None) -> None:
        self.stop()
        self._title, self._total, self._done, self._note = title, total, 0, ""
        self._told, self._untold = time.monotonic(), False
        stderr.print(title if total is None else f"{title}: {total:,} to do")

    def advance(self, steps: int, note: str = "") -> None:
        self._done += steps
        self._note = note or self._note
        if time.monotonic() - self._told < SECONDS_PER_LINE:
            self._untold = bool(self._note)
        else:
            self._tell()

    def stop(self) -> None:
        if self._untold:
            self._tell()

    def _tell(self) -> None:
        of = "" if self._total is None else f" of {self._total:,}"
        stderr.print(f"{self._title}: {self._done:,}{of}{', ' if self._note else ''}{self._note}")
        self._told, self._untold = time.monotonic(), False


def show(title: str, values: Mapping[str, Any], as_json: bool) -> None:
    """Print a result: a table for people, one JSON object for programs."""
    if as_json:
        sys.stdout.write(to_json(values) + "\n")
        return
    # A title of a table is wrapped to its width, and a path in two pieces cannot be copied.
    stdout.print(title, style="italic", soft_wrap=True)
    table = Table(show_header=False)
    for name, value in values.items():
        table.add_row(name, in_words(value))
    stdout.print(table)


def in_words(value: Any, indent: str = "") -> str:
    """A value as people read it: a mapping, and a list of such, a line for each member, indented below its name."""
    if isinstance(value, Mapping) and value:
        return "\n".join(f"{indent}{_name(name)}:{_below(inner, indent)}" for name, inner in value.items())
    if isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        return "\n".join(in_words(inner, indent) for inner in value)
    if isinstance(value, list | tuple | set | frozenset) and value:
        return ", ".join(in_words(inner) for inner in value)
    if value is None or value in ({}, [], (), ""):
        return "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _name(name: Any) -> str:
    return str(name) or "(empty)"


def _below(value: Any, indent: str) -> str:
    if isinstance(value, Mapping) and value:
        return f"\n{in_words(value, indent + '  ')}"
    if isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        return f"\n{in_words(value, indent + '  ')}"
    return f" {in_words(value)}"


def to_json(values: Mapping[str, Any]) -> str:
    """One line of JSON, in ASCII where standard output takes nothing else."""
    return json.dumps(values, ensure_ascii=not is_utf8(sys.stdout), default=str)


class Stopped(BaseException):
    """A signal asked the command to end; raised in the main thread, so that what is half done is cleaned up."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Turn the project's errors into one line on standard error and their exit code; other errors are bugs and show.

    What the system refuses (a full disk, a read-only folder, a closed pipe, no memory) is one line and 1. SIGTERM and
    SIGHUP end a command as Ctrl-C does: by an exception, with 128 and the signal's number as exit code.
    """
    raising, afterwards = _raise_on_signals(), signal.SIG_DFL
    try:
        with checked_output():
            yield
    except ModuleNotFoundError as error:
        extra = EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(MissingDependencyError(f'{error.name} is not installed; run: pip install "pragmatiq-triton[{extra}]"'))
    except PragmatiqError as error:
        _fail(error)
    except OSError as error:
        _fail(PragmatiqError(_refusal(error)))
    except RuntimeError as error:
        # What pathlib makes of a link to itself.
        if not str(error).startswith("Symlink loop"):
            raise
        _fail(PragmatiqError(str(error)))
    except MemoryError as error:
        _fail(PragmatiqError(f"there is not enough memory: {error or 'none could be had'} {_in_this_command()}"))
    except KeyboardInterrupt:
        stderr.print("interrupted")
        raise SystemExit(130) from None
    except Stopped as stopped:
        stderr.print(f"stopped by {stopped}")
        # The end is under way: a second signal would end the interpreter's own end by itself, without the exit code.
        afterwards = signal.SIG_IGN
        raise SystemExit(stopped.exit_code) from None
    except SystemExit as end:
        # What typer makes of Ctrl-C.
        if end.code == 130:
            stderr.print("interrupted")
        raise
    finally:
        for number in raising:
            signal.signal(number, afterwards)


def _raise_on_signals() -> list[signal.Signals]:
    """Which signals now raise :class:`Stopped`; one that was ignored from the start, as under nohup, stays ignored."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    ending = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in ending:
        signal.signal(number, stop)
    return ending


def _refusal(error: OSError) -> str:
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(names)}: {reason}" if names else f"{reason} {_in_this_command()}"


def _in_this_command() -> str:
    """Where an error names nothing, what the user typed does."""
    return f"(in: pragmatiq {shlex.join(sys.argv[1:])})"


def _fail(error: PragmatiqError) -> None:
    stderr.print(f"error: {error}", style="red")
    raise SystemExit(error.exit_code)
