"""Numbers and verdicts in words; a difference inside its interval is never told as a win."""

import math
from collections.abc import Sequence

from pragmatiq_builder.metrics.intervals import Difference, Estimate
from pragmatiq_builder.metrics.metrics import METRICS
from pragmatiq_builder.metrics.result import Evaluation

HEADLINES = ("roc_auc", "pr_auc")


def verdict_lines(evaluation: Evaluation, metrics: Sequence[str] = HEADLINES) -> list[str]:
    """One sentence per metric: the candidate's value, and how it compares with each baseline."""
    return [
        "; ".join(
            [f"{evaluation.candidate}: {METRICS[metric].label} {in_words(candidate)}"]
            + [compared(found[metric], baseline) for baseline, found in evaluation.differences.items()]
        )
        for metric, candidate in ((metric, evaluation.metrics[evaluation.candidate][metric]) for metric in metrics)
    ]


def in_words(interval: Estimate | Difference) -> str:
    """``0.861 [0.850, 0.871]``."""
    return _written(interval.value, interval.low, interval.high)


def compared(difference: Difference, baseline: str) -> str:
    """``better than B by 0.010 [0.004, 0.016]``: by how much, above 0; else candidate - baseline as it is."""
    value, low, high = difference.value, difference.low, difference.high
    if difference.verdict == "not distinguishable":
        return f"not distinguishable from {baseline}: difference {_written(value, low, high)}"
    if high < 0:
        value, low, high = -value, -high, -low
    return f"{difference.verdict} than {baseline} by {_written(value, low, high)}"


def number(value: float, decimals: int = 4) -> str:
    """Fixed decimals, and no minus sign before zeros."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def _written(value: float, low: float, high: float) -> str:
    decimals = _decimals(low, high)
    return f"{number(value, decimals)} [{number(low, decimals)}, {number(high, decimals)}]"


def _decimals(low: float, high: float) -> int:
    """Three, or as many as show the interval's width in two digits and that it does not touch 0."""
    decimals = 3
    if high > low:
        decimals = max(decimals, 1 - math.floor(math.log10(high - low)))
    if low * high > 0:
        decimals = max(decimals, -math.floor(math.log10(min(abs(low), abs(high)))))
    return min(decimals, 8)
