"""The command line's options."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.serving.cases import CALLERS, EVENTS, PRESETS
from bench.serving.sources import SHARED, VARIANTS

ROUNDS = {"bar": 3, "quick": 1, "full": 1}
SECONDS = {"bar": 5.0, "quick": 0.5, "full": 5.0}
PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class Options:
    """What is measured, for how long, and where things are."""

    preset: str
    vs_upstream: bool
    upstream_environment: Path | None
    given: Path | None
    work: Path
    variants: list[str]
    precisions: list[str]
    events: list[int] | None
    callers: list[int] | None
    requests: int
    seconds: float
    rounds: int
    seed: int
    memory: bool
    neighbour: bool
    customers: int
    json: Path | None
    plot: Path | None


def parse(arguments: Sequence[str] | None, description: str | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m bench.serving", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="bar", help="bar: what the bar needs (default); full: all; quick: a trial")
    add("--vs-upstream", action="store_true", help="measure upstream's own serving code in turns with ours")
    add("--upstream-environment", type=Path, help="upstream's virtual environment (default: made in --work)")
    add("--given", type=Path, help="folder of runs and records (default: ../shared/bench; without it they are made)")
    add("--work", type=Path, default=Path(".bench"), help="folder of everything fetched and made (%(default)s)")
    add("--variants", type=_Names(VARIANTS), default=list(VARIANTS), help="text variants, separated by commas")
    add("--precisions", type=_Names(PRECISIONS), default=list(PRECISIONS), help="of fp32,int8 (default: both)")
    add("--events", type=_numbers, help=f"history lengths, of {','.join(map(str, EVENTS))}; any with --preset full")
    add("--callers", type=_numbers, help=f"callers, of {','.join(map(str, CALLERS))}; any with --preset full")
    add("--requests", type=int, default=2000, help="most requests of a measurement (%(default)s)")
    add("--seconds", type=float, help="length of a measurement (default: 5; quick: 0.5)")
    add("--rounds", type=int, help="times that each is measured (default: bar 3, others 1)")
    add("--seed", type=int, default=0, help="of the derived customers (%(default)s)")
    add("--memory", action="store_true", help="memory over many customers, and latency over the event cache's size")
    add("--neighbour", action="store_true", help="only: the wait of small requests beside a caller with 16 MB of text")
    add("--customers", type=int, default=10_000, help="different customers of --memory (%(default)s)")
    add("--json", type=Path, help="file for every single measurement")
    add("--plot", type=Path, help="picture: latency over length and load, memory over customers")
    values = vars(parser.parse_args(arguments))
    values["seconds"] = SECONDS[values["preset"]] if values["seconds"] is None else values["seconds"]
    values["rounds"] = ROUNDS[values["preset"]] if values["rounds"] is None else values["rounds"]
    options = Options(**values)
    if min(options.requests, options.rounds, options.customers) < 1 or options.seconds <= 0:
        parser.error("expected --requests, --rounds and --customers of at least 1, and --seconds above 0")
    if options.given is None and (SHARED / "bench").is_dir():
        values["given"] = SHARED / "bench"
    return Options(**values)


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of at least 1, separated by commas, got {text!r}")
    return numbers


class _Names:
    """A list of known names, separated by commas."""

    def __init__(self, known: Sequence[str] | dict[str, str]) -> None:
        self._known = list(known)

    def __call__(self, text: str) -> list[str]:
        names = text.split(",")
        if not set(names) <= set(self._known):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(self._known)}, got {text!r}")
        return names
