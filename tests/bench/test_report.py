"""Ratios are taken round by round, against the fastest of the others."""

from io import StringIO

import pytest
from rich.console import Console

from bench.report import Row, sizes_table, table
from bench.toolkits import Sizes


@pytest.fixture
def row():
    row = Row("tokenize", "events/s", bar=10)
    for speed in (100, 900, 200):
        row.add("ours", speed)
    for one, two in ((20, 10), (30, 45), (5, 8)):
        row.add("upstream", one)
        row.add("upstream, 2 workers", two)
    return row


def shown(drawn):
    text = StringIO()
    Console(width=200, file=text).print(drawn)
    return text.getvalue()


def test_each_round_is_compared_with_the_fastest_setting_of_that_round(row):
    assert row.ratios == [5, 20, 25]
    assert row.medians == {"ours": 200, "upstream": 20, "upstream, 2 workers": 10}
    assert row.to_dict()["ratio"] == 20


def test_table_shows_medians_ratio_and_whether_the_bar_is_met(row):
    assert "20.0 (5.0 to 25.0)" in shown(table([row]))
    assert "10: met" in shown(table([row]))
    row.bar = 21
    assert "21: missed" in shown(table([row]))


def test_a_toolkit_that_a_row_lacks_leaves_its_cell_empty(row):
    training = Row("pre-train", "tokens/s", bar=1.5, speeds={"ours": [30.0], "upstream": [10.0]})
    text = shown(table([row, training]))
    assert "30 tokens/s" in text
    assert "3.0 (3.0 to 3.0)" in text


def test_ours_alone_has_no_ratio_and_no_bar():
    alone = Row("tokenize", "events/s", bar=10, speeds={"ours": [1.0, 3.0]})
    assert alone.ratios == []
    assert alone.to_dict()["ratio"] is None
    assert "bar" not in shown(table([alone]))


def test_sizes_are_shown_as_tokens_per_event(row):
    row.sizes["ours"] = Sizes(events=1000, tokens=7500, vocab_size=3000)
    assert "7.5" in shown(sizes_table([row]))
