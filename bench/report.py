"""What a comparison of speeds comes to: medians, ratios, a table, JSON."""

import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from bench.toolkits import CORES, Sizes


@dataclass
class Row:
    """One thing measured: for each toolkit, ours first, its speed in each round."""

    what: str
    unit: str
    bar: float
    speeds: dict[str, list[float]] = field(default_factory=dict)
    sizes: dict[str, Sizes] = field(default_factory=dict)

    def add(self, toolkit: str, speed: float) -> None:
        self.speeds.setdefault(toolkit, []).append(speed)

    @property
    def medians(self) -> dict[str, float]:
        return {toolkit: median(speeds) for toolkit, speeds in self.speeds.items()}

    @property
    def ratios(self) -> list[float]:
        """Ours over the fastest other, round by round; none where nothing else was measured."""
        own, *others = self.speeds.values()
        return [mine / max(theirs) for mine, *theirs in zip(own, *others, strict=True) if theirs]

    def to_dict(self) -> dict[str, Any]:
        values = {"what": self.what, "unit": self.unit, "bar": self.bar, "speeds": self.speeds, "medians": self.medians}
        ratio = median(self.ratios) if self.ratios else None
        sizes = {toolkit: found._asdict() for toolkit, found in self.sizes.items()}
        return {**values, "ratios": self.ratios, "ratio": ratio, "sizes": sizes}


def machine() -> dict[str, Any]:
    """What the speeds belong to."""
    cpu = next((line for line in _cpu_lines() if line.startswith("model name")), "").partition(": ")[2]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu.strip() or platform.machine(),
        "cores": CORES,
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def table(rows: list[Row]) -> Table:
    """Rows by what was measured, a column per toolkit, the median of the ratios with their range, and the bar."""
    names = list(dict.fromkeys(name for row in rows for name in row.speeds))
    drawn = Table("what", *names, title="Medians", title_justify="left")
    if len(names) > 1:
        drawn.add_column("ratio (range)")
        drawn.add_column("bar")
    for row in rows:
        medians = [f"{row.medians[name]:,.0f} {row.unit}" if name in row.speeds else "" for name in names]
        cells = [row.what, *medians]
        if row.ratios:
            verdict = "met" if median(row.ratios) >= row.bar else "missed"
            cells += [f"{median(row.ratios):.1f} ({min(row.ratios):.1f} to {max(row.ratios):.1f})"]
            cells += [f"{row.bar:g}: {verdict}"]
        drawn.add_row(*cells)
    return drawn


def sizes_table(rows: list[Row]) -> Table:
    """How far the toolkits' data sets are the same work."""
    drawn = Table("data set of", "toolkit", "events", "tokens per event", "vocabulary")
    for row in rows:
        for toolkit, found in row.sizes.items():
            per_event = f"{found.tokens / found.events:.1f}"
            drawn.add_row(row.what, toolkit, f"{found.events:,}", per_event, f"{found.vocab_size:,}")
    return drawn


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
