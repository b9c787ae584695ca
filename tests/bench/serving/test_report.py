"""What is printed, written and drawn of results."""

import json
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from bench.serving.bar import rows
from bench.serving.cases import COLD, WARM, Cell
from bench.serving.measure import Results, Sample
from bench.serving.memory import CachePoint, Growth
from bench.serving.plot import draw
from bench.serving.processes import Memory
from bench.serving.report import MIB, Report
from bench.serving.servers import OURS, UPSTREAM, Contestant

ABOUT = {"date": "2026-01-02", "cpu": "a processor", "cores": 2}


@pytest.fixture
def report():
    results = Results()
    ours, other = Contestant(OURS, "bpe"), Contestant(UPSTREAM, "bpe")
    for cell in (Cell(COLD, 256, 1, upstream=True), Cell(COLD, 1085, 1), Cell(WARM, 256, share=0.5)):
        for p50 in (10.0, 14.0, 12.0):
            results.add(ours, cell, Sample(p50, p50 + 1, p50 + 2, 100, 0.0123, 50, 0.75 if cell.mode == COLD else None))
    for p50 in (30.0, 70.0, 24.0):
        results.add(other, Cell(COLD, 256, 1, upstream=True), Sample(p50, p50, p50, 25, 0.1, 10, 0.75))
    growth = Growth({"event_cache_bytes": 8 * MIB}, [0, 500], {"scorer": [Memory(100 * MIB, 90 * MIB)] * 2})
    peak = {"peak": 300.0, "cold": 210.0}
    bar = rows(results, ["bpe"], ["fp32"], [])
    return Report(ABOUT, results, bar, {"both": 2e-6}, peak, growth, [CachePoint(MIB, 5.0, 9.0)], nothing_ms=0.8)


def test_tables_show_medians_ranges_ratios_and_verdicts(report):
    text = StringIO()
    report.print(Console(width=300, file=text))
    shown = text.getvalue()
    assert "12.0 (10.0 to 14.0)" in shown
    line = next(line for line in shown.splitlines() if "cold, 256 events, 1 caller" in line and "ours" in line)
    assert [cell.strip() for cell in line.split("│")][-3:-1] == ["3.0", "4.0"]
    assert "75%" in shown
    assert "70% of the peak" in shown
    assert "do nothing: p50 0.80 ms" in shown
    assert "event_cache_bytes 8 MiB" in shown
    assert "100 (90)" in shown
    line = next(line for line in shown.splitlines() if "cold, 1 caller, 256" in line)
    assert "1.7x" in line
    assert "met" in line
    assert "missed" not in line


def test_json_holds_every_round(report):
    values = json.loads(msgspec.json.encode(report.to_dict()))
    cell = next(cell for cell in values["cells"] if cell["toolkit"] == UPSTREAM)
    assert [each["p50"] for each in cell["rounds"]] == [30.0, 70.0, 24.0]
    assert (cell["mode"], cell["events"], cell["callers"]) == (COLD, 256, 1)
    assert values["cpu"] == "a processor"
    assert values["memory"]["models"]["scorer"][0]["rss"] == 100 * MIB


def test_the_picture_is_drawn_whole_or_in_part(report, tmp_path):
    draw(report, tmp_path / "whole.png")
    draw(Report(ABOUT, Results()), tmp_path / "empty.png")
    whole, empty = (path.read_bytes() for path in (tmp_path / "whole.png", tmp_path / "empty.png"))
    assert whole.startswith(b"\x89PNG")
    assert len(whole) > len(empty)
