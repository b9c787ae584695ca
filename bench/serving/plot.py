"""A picture of a report: latency over history length, latency over load, memory over customers."""

from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.serving.cases import EMPTY
from bench.serving.measure import Result
from bench.serving.memory import Growth
from bench.serving.report import MIB, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOAD_EVENTS = 256


def draw(report: Report, path: Path) -> None:
    """Write the picture; what was not measured has no part in it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    results = [result for result in report.results.values() if result.cell.mode != EMPTY]
    parts: list[Callable[[Axes], None]] = []
    if single := [result for result in results if result.cell.callers == 1]:
        parts.append(lambda axes: _over_length(axes, single))
    if loaded := [result for result in results if result.cell.events == LOAD_EVENTS]:
        parts.append(lambda axes: _over_load(axes, loaded))
    if growth := report.growth:
        parts.append(lambda axes: _over_customers(axes, growth))
    figure, _ = pyplot.subplots(1, max(len(parts), 1), figsize=(6 * max(len(parts), 1), 5), layout="constrained")
    for part, place in zip(parts, figure.axes, strict=False):
        part(place)
    about = report.about
    figure.suptitle(f"{about['date']}, {about['cpu']}, {about['cores']} cores", fontsize=10)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _over_length(axes: "Axes", results: Iterable[Result]) -> None:
    for name, curve in _curves(results):
        points = sorted((result.cell.events, result.median("p50")) for result in curve)
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    _finish(axes, "one caller, p50", "events in the history", "ms", log=True)


def _over_load(axes: "Axes", results: Iterable[Result]) -> None:
    for name, curve in _curves(results):
        points = sorted((result.median("requests_per_second"), result.median("p99")) for result in curve)
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    _finish(axes, f"{LOAD_EVENTS} events, p99", "requests/s", "ms", log=True)


def _over_customers(axes: "Axes", growth: Growth) -> None:
    for model, memories in growth.models.items():
        axes.plot(growth.customers, [each.rss / MIB for each in memories], marker=".", label=model)
    _finish(axes, "resident memory", "different customers", "MiB", log=False)


def _curves(results: Iterable[Result]) -> Iterable[tuple[str, list[Result]]]:
    """Results by contestant, mode and, apart from callers that wait, random arrivals."""

    def name(result: Result) -> str:
        return f"{result.contestant}, {result.cell.mode}{', Poisson' if result.cell.share else ''}"

    return ((key, list(curve)) for key, curve in groupby(sorted(results, key=name), key=name))


def _finish(axes: Any, title: str, x: str, y: str, log: bool) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    if log:
        axes.set(xscale="log", yscale="log")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
