"""A comparison as one HTML file that needs nothing else, neither network nor other files."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pragmatiq_builder.comparison.compare import Comparison, TaskComparison
from pragmatiq_builder.drawing import INK, Plot, as_svg
from pragmatiq_builder.metrics import METRICS
from pragmatiq_builder.metrics.plots import Style, line_of, styles_of
from pragmatiq_builder.metrics.wording import HEADLINES, compared, in_words
from pragmatiq_builder.pages import page_environment
from pragmatiq_builder.writing import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = {
    "loss": "Training loss",
    "val_loss": "Validation loss",
    "val_masked_accuracy": "Masked values found, held-out users",
}
"""Curves that are drawn, of those that ``metrics.jsonl`` has."""


def write_page(comparison: Comparison, file: Path) -> None:
    """Write ``file``: settings that differ, curves, and each task with its plot. The same runs give the same bytes."""
    environment = page_environment(Path(__file__).parent, autoescape=True)
    environment.filters.update(interval=in_words)
    styles = styles_of(comparison.runs)
    page = environment.get_template("page.html.j2").render(
        comparison=comparison,
        styles=styles,
        curves=_curves(comparison, styles),
        plots={task: _headlines(task, found, styles) for task, found in comparison.tasks.items() if found.metrics},
        metrics=METRICS,
        compared=compared,
    )
    with whole_file(file) as stream:
        stream.write(page.encode())


def _curves(comparison: Comparison, styles: dict[str, Style]) -> list[Plot]:
    plots = []
    for metric, title in CURVES.items():
        points = {
            name: [(record["step"], record[metric]) for record in run.metrics if metric in record]
            for name, run in zip(comparison.runs, comparison.facts, strict=True)
        }
        points = {name: each for name, each in points.items() if each}
        if points:
            ends = "; ".join(f"{name} {each[-1][1]:.4f} at step {each[-1][0]:,}" for name, each in points.items())
            drawn = as_svg(partial(_draw_curves, points=points, styles=styles), f"runs-{metric}")
            plots.append(Plot(title, f"Last: {ends}.", f"{title} by step. Last: {ends}.", drawn))
    return plots


def _draw_curves(figure: "Figure", points: dict[str, list[tuple[int, float]]], styles: dict[str, Style]) -> None:
    axes = figure.subplots()
    axes.set(xlabel="Step")
    axes.grid(True)
    for name, each in reversed(points.items()):
        steps, values = zip(*each, strict=True)
        marker: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(each) < 3 else {}
        axes.plot(steps, values, **line_of(styles[name]), **marker)


def _headlines(task: str, found: TaskComparison, styles: dict[str, Style]) -> Plot:
    told = "; ".join(
        f"{METRICS[metric].label}: " + ", ".join(f"{run} {in_words(found.metrics[run][metric])}" for run in found.runs)
        for metric in HEADLINES
    )
    note = "Bars are each run's own 95 % intervals; whether runs differ is said by the paired differences above."
    draw: Callable[[Figure], None] = partial(_draw_headlines, found=found, styles=styles)
    return Plot("Intervals by run", note, f"Intervals by run. {told}.", as_svg(draw, f"task-{task}", (4.6, 2.6)))


def _draw_headlines(figure: "Figure", found: TaskComparison, styles: dict[str, Style]) -> None:
    panels: Sequence[Any] = figure.subplots(1, len(HEADLINES), sharey=True)
    for axes, metric in zip(panels, HEADLINES, strict=True):
        for place, run in enumerate(found.runs):
            estimate = found.metrics[run][metric]
            colour = styles[run].colour
            axes.hlines(place, estimate.low, estimate.high, color=colour, linewidth=styles[run].width)
            axes.plot([estimate.value], [place], marker="o", markersize=5, color=colour)
        axes.set_title(METRICS[metric].label, fontsize=10)
        axes.set_yticks(range(len(found.runs)), found.runs)
        axes.set_ylim(len(found.runs) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=3)
        axes.grid(True, axis="x", color=INK)
