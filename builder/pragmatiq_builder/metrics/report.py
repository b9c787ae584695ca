"""The report: evaluations as one HTML file that needs nothing else, neither network nor other files."""

from collections.abc import Sequence
from pathlib import Path

from pragmatiq_builder.metrics.metrics import METRICS
from pragmatiq_builder.metrics.plots import plots, styles
from pragmatiq_builder.metrics.result import Evaluation
from pragmatiq_builder.metrics.wording import compared, in_words, number, verdict_lines
from pragmatiq_builder.pages import page_environment
from pragmatiq_builder.writing import write_file

TEMPLATE = "report.html.j2"


def write_report(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write ``path``: per evaluation its verdicts, metrics with intervals, differences, plots, splits and provenance.

    The same evaluations always give the same bytes. Names are escaped. Needs matplotlib and jinja2, of the extra
    ``train``.
    """
    environment = page_environment(Path(__file__).parent, autoescape=True)
    environment.filters.update(interval=in_words, number=number)
    page = environment.get_template(TEMPLATE).render(
        evaluations=[
            {
                "found": evaluation,
                "verdicts": verdict_lines(evaluation),
                "plots": plots(evaluation, salt=str(position)),
                "styles": styles(evaluation),
            }
            for position, evaluation in enumerate(evaluations)
        ],
        metrics=METRICS,
        compared=compared,
    )
    write_file(path, page.encode())
