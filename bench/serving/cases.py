"""What is measured: cells, each a kind of request under a load, and the sets of them that have a name."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

COLD, WARM, EMPTY = "cold", "warm", "empty"
EVENTS = (64, 256, 1085, 3500)
CALLERS = (1, 8, 64)
SHARES = (0.3, 0.6, 0.9)
SHARE_OF = 8
"""Poisson rates are shares of the throughput with so many callers."""


@dataclass(frozen=True)
class Cell:
    """Requests of one kind under one load.

    ``mode``: COLD, every history is new; WARM, each call is one newer event of a known customer; EMPTY, no events.
    Either ``callers`` that wait for their answers, or calls that arrive at random at ``share`` of the throughput that
    the same server has with 8 callers. ``upstream``: it is measured beside ours. For upstream, which remembers
    nothing, WARM and COLD are the same work. ``behind``: our Triton is also measured without the gateway.
    """

    mode: str
    events: int
    callers: int = 0
    share: float = 0.0
    upstream: bool = False
    behind: bool = False

    def __str__(self) -> str:
        load = f"{self.callers} caller{'s' if self.callers > 1 else ''}" if self.callers else f"Poisson {self.share:g}"
        return f"{self.mode}, {self.events} events, {load}"


BAR = (
    Cell(EMPTY, 0, 1),
    Cell(WARM, 256, 1, upstream=True, behind=True),
    Cell(WARM, 1085, 1, upstream=True),
    Cell(WARM, 256, 8, upstream=True, behind=True),
    Cell(WARM, 256, 64, behind=True),
    Cell(COLD, 256, 1, upstream=True),
    Cell(COLD, 1085, 1, upstream=True),
    Cell(COLD, 256, 8, upstream=True),
)
QUICK = (
    Cell(EMPTY, 0, 1),
    Cell(COLD, 16, 1),
    Cell(WARM, 16, 1, behind=True),
    Cell(WARM, 16, 8),
    Cell(WARM, 16, share=0.5),
)


def full(events: Iterable[int] = EVENTS, callers: Iterable[int] = CALLERS) -> tuple[Cell, ...]:
    """Every mode, length and load; upstream where BAR has it."""
    kinds = list(product((COLD, WARM), events))
    closed = [Cell(mode, n_events, n_callers) for (mode, n_events), n_callers in product(kinds, callers)]
    reference = [Cell(mode, n_events, SHARE_OF) for mode, n_events in kinds]
    opened = [Cell(mode, n_events, share=share) for (mode, n_events), share in product(kinds, SHARES)]
    cells = dict.fromkeys([Cell(EMPTY, 0, 1), *closed, *reference, *opened])
    beside = {(cell.mode, cell.events, cell.callers) for cell in BAR if cell.upstream}
    return tuple(
        Cell(cell.mode, cell.events, cell.callers, cell.share, (cell.mode, cell.events, cell.callers) in beside)
        for cell in cells
    )


PRESETS = {"bar": BAR, "quick": QUICK, "full": full()}


def chosen(preset: str, events: Iterable[int] | None, callers: Iterable[int] | None) -> tuple[Cell, ...]:
    """The cells of a preset; lengths and callers narrow it, and are taken as they are by ``full``."""
    if preset == "full":
        return full(tuple(events or EVENTS), tuple(callers or CALLERS))
    lengths, counts = set(events or ()), set(callers or ())
    return tuple(
        cell
        for cell in PRESETS[preset]
        if (not lengths or cell.mode == EMPTY or cell.events in lengths)
        and (not counts or cell.mode == EMPTY or cell.callers in counts or (cell.share and SHARE_OF in counts))
    )
