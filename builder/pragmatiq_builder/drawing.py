"""Drawings as SVG for the body of an HTML page.

Lines and text take the page's colour and font, so the same drawing works on light and dark; nothing of the machine or
the moment is in it. Needs matplotlib, of the extra ``train``.
"""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Stands for currentColor, which matplotlib cannot write."""


class Plot(NamedTuple):
    """``svg`` markup, its title, a note for the reader and, for who cannot see it, what it shows."""

    title: str
    note: str
    description: str
    svg: str


def as_svg(draw: "Callable[[Figure], None]", salt: str, size: tuple[float, float] = (4.6, 3.7)) -> str:
    """What ``draw`` draws, as an element; ``salt`` keeps ids apart on one page, ``size`` is in inches."""
    from matplotlib import style
    from matplotlib.figure import Figure

    settings: dict[str, Any] = {
        "svg.hashsalt": salt,
        "svg.fonttype": "none",
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "grid.alpha": 0.15,
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "grid.color"), INK),
        **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    }
    out = io.StringIO()
    with style.context(["default", settings]):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    return _inline(out.getvalue())


def _inline(document: str) -> str:
    """An SVG document as an element: no prologue, namespaces, or ids that nothing points at; ink is the page's."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if f"#{match[1]}" in svg else "", svg)
    return svg.replace(INK, "currentColor").strip()
