"""The bar's verdicts, from cells that were measured or not."""

import pytest

from bench.serving.bar import Row, rows
from bench.serving.cases import COLD, EMPTY, WARM, Cell
from bench.serving.measure import Results, Sample
from bench.serving.servers import OURS, UPSTREAM, Contestant

BPE, EMBED, INT8 = Contestant(OURS, "bpe"), Contestant(OURS, "embed"), Contestant(OURS, "bpe", "int8")
OTHER = Contestant(UPSTREAM, "bpe")


def sample(p50, rate=1.0, p99=None):
    return Sample(p50, p50, p99 or p50, rate, 0.1, 10, None)


def find(lines, *parts):
    (line,) = (line for line in lines if all(part in line.what for part in parts))
    return line


@pytest.fixture
def results():
    found = Results()
    for mine, theirs in ((5, 100), (10, 300), (4, 60)):
        found.add(BPE, Cell(WARM, 256, 1, upstream=True), sample(mine))
        found.add(OTHER, Cell(WARM, 256, 1, upstream=True), sample(theirs))
    found.add(BPE, Cell(COLD, 256, 8, upstream=True), sample(9, rate=30))
    found.add(INT8, Cell(COLD, 256, 8, upstream=True), sample(9, rate=50))
    found.add(OTHER, Cell(COLD, 256, 8, upstream=True), sample(9, rate=10))
    found.add(BPE, Cell(WARM, 256, 64), sample(10, p99=31))
    found.add(BPE, Cell(EMPTY, 0, 1), sample(2.5))
    found.add(BPE, Cell(COLD, 256, 1), sample(50))
    found.add(EMBED, Cell(COLD, 256, 1), sample(35))
    return found


def test_latency_is_upstreams_over_ours_round_by_round(results):
    line = find(rows(results, ["bpe"], ["fp32"], []), "bpe fp32: warm, 1 caller, 256")
    assert line.values == [20, 30, 15]
    assert (line.value, line.bar, line.met) == (20, 18, True)


def test_rates_are_ours_over_upstreams_and_each_precision_has_its_bar(results):
    lines = rows(results, ["bpe"], ["fp32", "int8"], [])
    fp32, int8 = (find(lines, f"bpe {name}: cold, 8 callers") for name in ("fp32", "int8"))
    assert (fp32.value, fp32.bar, fp32.met) == (3, 3.5, False)
    assert (int8.value, int8.bar, int8.met) == (5, 6, False)


def test_ours_alone_has_its_lines_too(results):
    lines = rows(results, ["bpe", "embed"], ["fp32"], [2.0, 4.0, 3.0])
    assert find(lines, "bpe", "p99 over p50").value == pytest.approx(3.1)
    assert find(lines, "bpe", "p99 over p50").met is False
    assert find(lines, "bpe", "0 events").met is True
    assert find(lines, "embed over BPE", "256").value == pytest.approx(0.7)
    assert find(lines, "ready").value == 3.0
    assert find(lines, "ready").met is True


def test_what_was_not_measured_is_neither_met_nor_missed(results):
    lines = rows(results, ["bpe", "embed"], ["fp32"], [])
    for line in (find(lines, "bpe fp32: warm, 1 caller, 1,085"), find(lines, "embed: 0 events"), find(lines, "ready")):
        assert line.met is None


def test_the_median_round_decides():
    assert Row("", 2, [1, 3, 3]).met
    assert not Row("", 2, [1, 3, 3], at_most=True).met
