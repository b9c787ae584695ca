import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_builder.metrics import Evaluation, verdict_lines
from pragmatiq_builder.metrics.intervals import Difference, Estimate
from pragmatiq_builder.metrics.wording import compared, in_words


def test_a_line_per_metric_compares_with_each_baseline(evaluation: Evaluation) -> None:
    auc, brier = verdict_lines(evaluation, ["roc_auc", "brier"])
    interval = r"-?\d\.\d+ \[-?\d\.\d+, -?\d\.\d+\]"
    assert re.fullmatch(
        rf"hybrid: ROC-AUC {interval}; not distinguishable from echo: difference {interval}; "
        rf"better than counts by {interval}",
        auc,
    )
    assert brier.startswith("hybrid: Brier score ")
    assert len(verdict_lines(evaluation)) == 2


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        (Difference(0.01, 0.004, 0.016, "better", False), "better than b by 0.010 [0.004, 0.016]"),
        (Difference(-0.01, -0.016, -0.004, "better", False), "better than b by 0.010 [0.004, 0.016]"),
        (Difference(-0.01, -0.016, -0.004, "worse", True), "worse than b by 0.010 [0.004, 0.016]"),
        (
            Difference(0.002, -0.004, 0.008, "not distinguishable", False),
            "not distinguishable from b: difference 0.002 [-0.004, 0.008]",
        ),
    ],
)
def test_a_difference_is_told_by_how_much(difference: Difference, sentence: str) -> None:
    assert compared(difference, "b") == sentence


@given(st.floats(1e-7, 0.5), st.floats(1e-7, 0.5))
def test_a_win_never_reads_as_touching_zero(low: float, width: float) -> None:
    told = compared(Difference(low + width / 2, low, low + width, "better", False), "b")
    assert float(told.split("[")[1].split(",")[0]) > 0


def test_decimals_show_a_narrow_interval_and_zero_has_no_sign() -> None:
    assert in_words(Estimate(0.00123, 0.00115, 0.00131)) == "0.00123 [0.00115, 0.00131]"
    assert in_words(Difference(-0.00001, -0.2, 0.2, "not distinguishable", False)) == "0.000 [-0.200, 0.200]"
    assert in_words(Estimate(1.0, 1.0, 1.0)) == "1.000 [1.000, 1.000]"
