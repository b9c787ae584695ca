"""All that reading finds wrong, one finding per kind of problem."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pragmatiq_builder.raw.arrays import Mask
from pragmatiq_builder.raw.findings import Rows
from pragmatiq_builder.raw.validation.report import Finding, ValidationReport


class Gathered:
    """Findings of a raw data folder, added to its report; reading goes on behind each."""

    def __init__(self, data: Path, report: ValidationReport, on_rows: Callable[[int], None]) -> None:
        self.data = data
        self._report = report
        self._on_rows = on_rows
        self._known: dict[tuple[str, str], Finding] = {}

    def broken(self, path: Path, what: str) -> None:
        self.add(self._report.errors, path, what, 1, None)

    def error(self, rows: Rows, what: str, wrong: Mask) -> None:
        self._add_rows(self._report.errors, rows, what, wrong)

    def warn(self, rows: Rows, what: str, odd: Mask) -> None:
        self._add_rows(self._report.warnings, rows, what, odd)

    def remark(self, path: Path, what: str) -> None:
        self.add(self._report.warnings, path, what, 1, None)

    def advance(self, n_rows: int) -> None:
        self._on_rows(n_rows)

    def add(self, findings: list[Finding], path: Path, what: str, count: int, example: dict[str, Any] | None) -> None:
        """Count a problem; the file and the example of the first time stay. Parts of one table count together."""
        name = str(path.relative_to(self.data)) if path != self.data else "."
        table = name.partition("/")[0] if not name.startswith("labels/") else "/".join(name.split("/")[:2])
        known = self._known.get((table, what))
        if known is None:
            self._known[table, what] = finding = Finding(name, what, count, example)
            findings.append(finding)
        elif example is not None:
            known.count += count

    def _add_rows(self, findings: list[Finding], rows: Rows, what: str, wrong: Mask) -> None:
        if count := int(np.count_nonzero(wrong)):
            self.add(findings, rows.path, what, count, rows.example(wrong))
