"""What a benchmark of serving prints and writes: cells, the bar, memory."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.serving.bar import Row
from bench.serving.measure import Result, Results
from bench.serving.memory import CachePoint, Growth
from bench.serving.neighbour import Waits
from bench.serving.servers import UPSTREAM, Contestant

MIB = 2**20
NOTES = (
    "Medians of the rounds, in brackets their range; latencies over all requests but those that open the connections.",
    "x: upstream over ours (p50), ours over upstream (requests/s), round by round, on the same records.",
    "Upstream remembers nothing: for it a warm call is the same work as a cold one.",
    "New: of a cold history's different events, how many no earlier history of the cell held.",
)


@dataclass
class Report:
    """Everything that one run found.

    ``peak``: GFLOP/s, of the machine and of ours by what was measured; ``nothing_ms``: p50 of an ensemble of three
    Python models that do nothing.
    """

    about: dict[str, Any]
    results: Results
    bar: list[Row] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    growth: Growth | None = None
    cache_sizes: list[CachePoint] = field(default_factory=list)
    nothing_ms: float | None = None
    waits: list[Waits] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        cells = [
            {
                "who": str(result.contestant),
                **asdict(result.contestant),
                "cell": str(result.cell),
                **asdict(result.cell),
            }
            | {"rounds": [asdict(sample) for sample in result.samples]}
            for result in self.results.values()
        ]
        bar = [{**asdict(row), "value": row.value, "met": row.met} for row in self.bar]
        return {
            **self.about,
            "cells": cells,
            "bar": bar,
            "largest_difference": self.differences,
            "gflop_per_second": self.peak,
            "nothing_ms": self.nothing_ms,
            "memory": asdict(self.growth) if self.growth else None,
            "cache_sizes": [asdict(point) for point in self.cache_sizes],
            "waits": [{**asdict(each), "ratio": each.ratio} for each in self.waits],
        }

    def print(self, console: Console) -> None:
        if self.waits:
            console.print(waits_table(self.waits))
        else:
            console.print(cells_table(self.results), *NOTES, sep="\n")
        if self.bar:
            console.print(bar_table(self.bar))
        for what, largest in self.differences.items():
            console.print(f"{what}: embeddings differ by at most {largest:.1e}")
        if self.nothing_ms is not None:
            console.print(f"an ensemble of three Python models that do nothing: p50 {self.nothing_ms:.2f} ms")
        console.print(*peak_lines(self.peak), sep="\n")
        if self.growth:
            console.print(growth_table(self.growth))
        if self.cache_sizes:
            console.print(cache_table(self.cache_sizes))
        console.print(*(f"{name}: {value}" for name, value in self.about.items()), sep="\n", highlight=False)


def cells_table(results: Results) -> Table:
    """A line per cell and contestant, upstream's ratio beside it where it was measured."""
    names = ("p50 ms", "p95 ms", "p99 ms", "requests/s", "CPU-s per request", "requests", "new")
    drawn = Table("cell", "who", *names, "p50 x", "requests/s x")
    for result in results.values():
        latencies = [_spread(result.values(name), ".1f") for name in ("p50", "p95", "p99")]
        drawn.add_row(
            str(result.cell),
            str(result.contestant),
            *latencies,
            _spread(result.values("requests_per_second"), ".1f"),
            f"{result.median('cpu_seconds'):.4f}",
            f"{sum(sample.requests for sample in result.samples):,}",
            f"{result.samples[0].new_events:.0%}" if result.samples[0].new_events else "",
            *_ratios(result, results),
        )
    return drawn


def waits_table(waits: Sequence[Waits]) -> Table:
    names = ("alone, p50 ms", "beside, p50 ms", "beside, worst ms", "worst over usual", "answered", "heavy one, s")
    drawn = Table("small requests of", *names)
    for each in waits:
        numbers = (each.alone_p50, each.beside_p50, each.beside_worst, each.ratio)
        drawn.add_row(str(each.who), *(f"{number:.1f}" for number in numbers), str(each.beside), f"{each.seconds:.1f}")
    return drawn


def bar_table(rows: Sequence[Row]) -> Table:
    drawn = Table("", "bar", "got", "", title="The bar", title_justify="left")
    for row in rows:
        verdict = {True: "met", False: "missed", None: "not measured"}[row.met]
        bar = f"{'at most ' if row.at_most else ''}{row.bar:g}{row.unit}"
        drawn.add_row(row.what, bar, _spread(row.values, ".2f") if row.values else "", verdict)
    return drawn


def peak_lines(peak: dict[str, float]) -> list[str]:
    """The machine's peak first, then each measurement's share of it."""
    if not peak:
        return []
    (name, most), *measured = peak.items()
    return [
        f"{name}: {most:.0f} GFLOP/s",
        *(f"{what}: {speed:.0f} GFLOP/s, {speed / most:.0%} of the peak" for what, speed in measured),
    ]


def growth_table(growth: Growth) -> Table:
    bounds = ", ".join(f"{name} {size / MIB:g} MiB" for name, size in growth.bounds.items())
    title = f"Memory by customers (bounds: {bounds or 'the models have none'})"
    drawn = Table("customers", *(f"{model}, MiB (PSS)" for model in growth.models), title=title, title_justify="left")
    for place, customers in enumerate(growth.customers):
        cells = [f"{each[place].rss / MIB:.0f} ({each[place].pss / MIB:.0f})" for each in growth.models.values()]
        drawn.add_row(f"{customers:,}", *cells)
    return drawn


def cache_table(points: Sequence[CachePoint]) -> Table:
    drawn = Table("event cache, MiB", "p50 ms", "p99 ms", title="Known customers by cache size", title_justify="left")
    for point in points:
        drawn.add_row(f"{point.cache_bytes / MIB:g}", f"{point.p50:.1f}", f"{point.p99:.1f}")
    return drawn


def _ratios(result: Result, results: Results) -> tuple[str, ...]:
    """How many times faster and more than upstream, where that was measured beside it."""
    other = results.get((Contestant(UPSTREAM, result.contestant.variant), result.cell))
    if other is None or other is result:
        return ()
    rounds = list(zip(result.samples, other.samples, strict=False))
    faster = [theirs.p50 / mine.p50 for mine, theirs in rounds]
    more = [mine.requests_per_second / theirs.requests_per_second for mine, theirs in rounds]
    return f"{median(faster):.1f}", f"{median(more):.1f}"


def _spread(values: Sequence[float], form: str) -> str:
    middle = format(median(values), form)
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}} to {max(values):{form}})"
