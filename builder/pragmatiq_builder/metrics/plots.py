"""An evaluation's plots as SVG for the body of an HTML page."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pragmatiq_builder.drawing import INK, Plot, as_svg
from pragmatiq_builder.metrics.metrics import METRICS
from pragmatiq_builder.metrics.result import Evaluation
from pragmatiq_builder.metrics.wording import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[[Figure, Evaluation], None]

COLOURS = ("#2481c4", "#d55e00", "#009e73", "#b5659c", "#8a8a00")
"""After Okabe and Ito: told apart with any colour vision, legible on white and on near-black."""
DASHES = ("", "6 3", "2 2", "8 3 2 3", "4 4")


class Style(NamedTuple):
    """How a model is drawn in all plots: colour, SVG dash array, width in points."""

    colour: str
    dashes: str
    width: float


def styles(evaluation: Evaluation) -> dict[str, Style]:
    """A style per model, the candidate's first and strongest."""
    return styles_of([evaluation.candidate, *evaluation.differences])


def styles_of(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name, the first one's strongest."""
    return {
        name: Style(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], 1.6 if i else 2.2)
        for i, name in enumerate(names)
    }


def plots(evaluation: Evaluation, salt: str) -> list[Plot]:
    """ROC, precision-recall, reliability and score distribution; ``salt`` keeps ids apart on one page."""
    drawings: tuple[tuple[str, str, str, Draw], ...] = (
        ("ROC", "The thin line is chance.", _told(evaluation, "roc_auc"), _roc),
        (
            "Precision and recall",
            "The thin line is the share of positives, what chance gets.",
            _told(evaluation, "pr_auc"),
            _precision_recall,
        ),
        (
            "Reliability",
            "Ten bins of equally many rows; bars are 95 % Wilson intervals by the bin's users. Small rates are spread "
            "out on a square-root axis.",
            _told(evaluation, "expected_calibration_error"),
            _reliability,
        ),
        (
            "Scores by class",
            "Filled: rows with label 0; outlined: label 1. Small scores are on a log axis.",
            "Share of the rows of each class per score, one panel per model.",
            _histograms,
        ),
    )
    return [
        Plot(title, note, f"{title}. {told}", _svg(draw, evaluation, f"{salt}-{position}"))
        for position, (title, note, told, draw) in enumerate(drawings)
    ]


def _told(evaluation: Evaluation, metric: str) -> str:
    values = (f"{name} {in_words(evaluation.metrics[name][metric])}" for name in styles(evaluation))
    return f"{METRICS[metric].label}: {'; '.join(values)}."


def _svg(draw: "Draw", evaluation: Evaluation, salt: str) -> str:
    return as_svg(lambda figure: draw(figure, evaluation), salt)


def _unit_axes(figure: "Figure", x: str, y: str) -> "Axes":
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.grid(True)
    return axes


def line_of(style: Style) -> dict[str, Any]:
    """What matplotlib is to draw a line of this style with."""
    dashes = tuple(float(part) / style.width for part in style.dashes.split())
    return {"color": style.colour, "linewidth": style.width, "linestyle": (0, dashes) if dashes else "-"}


def _roc(figure: "Figure", evaluation: Evaluation) -> None:
    axes = _unit_axes(figure, "False positive rate", "True positive rate")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, alpha=0.5)
    for name, style in reversed(styles(evaluation).items()):
        curve = evaluation.curves[name].roc
        axes.plot(curve.x, curve.y, **line_of(style))


def _precision_recall(figure: "Figure", evaluation: Evaluation) -> None:
    axes = _unit_axes(figure, "Recall", "Precision")
    test = evaluation.splits["test"]
    axes.axhline(test.positives / test.rows, color=INK, linewidth=0.8, alpha=0.5)
    for name, style in reversed(styles(evaluation).items()):
        curve = evaluation.curves[name].precision_recall
        axes.plot(curve.x, curve.y, drawstyle="steps-pre", **line_of(style))


def _reliability(figure: "Figure", evaluation: Evaluation) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = _unit_axes(figure, "Predicted rate", "Observed rate")
    found = {name: evaluation.curves[name].reliability for name in styles(evaluation)}
    top = min(1.0, 1.08 * max(max(*bins.high, *bins.predicted) for bins in found.values()))
    if top < 0.5:
        axes.set_xscale("function", functions=(np.sqrt, np.square))
        axes.set_yscale("function", functions=(np.sqrt, np.square))
    axes.set(xlim=(0, top), ylim=(0, top))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.plot([0, top], [0, top], color=INK, linewidth=0.8, alpha=0.5)
    for name, style in reversed(styles(evaluation).items()):
        bins = found[name]
        axes.vlines(bins.predicted, bins.low, bins.high, color=style.colour, linewidth=style.width / 2, alpha=0.6)
        axes.plot(bins.predicted, bins.observed, marker="o", markersize=3.5, clip_on=False, **line_of(style))


def _histograms(figure: "Figure", evaluation: Evaluation) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    names = styles(evaluation)
    for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        shares = evaluation.curves[name].histogram
        axes.stairs(shares.negatives, shares.edges, fill=True, color=INK, alpha=0.22)
        axes.stairs(shares.positives, shares.edges, color=names[name].colour, linewidth=1.6)
        if shares.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(numticks=7))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(shares.edges[0], shares.edges[-1])
        axes.set_title(name, fontsize=9, loc="left")
        axes.locator_params(axis="y", nbins=3)
    figure.supylabel("Share of the class", fontsize=10)
    figure.supxlabel("Score", fontsize=10)
