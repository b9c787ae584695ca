"""The report of an ingest as one HTML file that needs nothing else, neither network nor other files."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pragmatiq_builder.drawing import INK, Plot, as_svg
from pragmatiq_builder.ingest.report import IngestReport
from pragmatiq_builder.pages import page_environment
from pragmatiq_builder.writing import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAR = "#2481c4"
_MOST_TICKS = 8


def write_page(report: IngestReport, file: Path, title: str) -> None:
    """Write ``file``: rows by table and reason, sources, fields, plots. The same report gives the same bytes."""
    environment = page_environment(Path(__file__).parent, autoescape=True)
    page = environment.get_template("page.html.j2").render(report=report, title=title, plots=_plots(report))
    with whole_file(file) as stream:
        stream.write(page.encode())


def _plots(report: IngestReport) -> list[Plot]:
    if not report.by_month:
        return []
    per_customer = {f"up to {up_to:,}": n for up_to, n in report.histogram.items()}
    drawings: list[tuple[str, str, dict[str, int]]] = [
        ("Events by month", "A month without events has no bar.", report.by_month),
        (
            "Customers by number of events",
            "Each bar has up to twice as many events as the one before.",
            per_customer,
        ),
    ]
    return [
        Plot(title, note, _told(title, counts), as_svg(_bars(counts), f"ingest-{position}"))
        for position, (title, note, counts) in enumerate(drawings)
    ]


def _told(title: str, counts: dict[str, int]) -> str:
    most = max(counts, key=lambda name: counts[name])
    return f"{title}: {len(counts)} bars, the highest {most} with {counts[most]:,}."


def _bars(counts: dict[str, int]) -> "Callable[[Figure], None]":
    return partial(_draw, counts=counts)


def _draw(figure: "Figure", counts: dict[str, int]) -> None:
    axes = figure.subplots()
    axes.bar(range(len(counts)), list(counts.values()), color=_BAR)
    every = -(-len(counts) // _MOST_TICKS)
    places = range(0, len(counts), every)
    axes.set_xticks(list(places), [list(counts)[place] for place in places], rotation=35, ha="right")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(True, axis="y", color=INK)
