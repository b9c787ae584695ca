"""What a model's scores are worth: metrics with intervals over users, verdicts against baselines, a report."""

from pragmatiq_builder.metrics.intervals import Difference, Estimate, bootstrap
from pragmatiq_builder.metrics.metrics import METRICS, measure
from pragmatiq_builder.metrics.report import write_report
from pragmatiq_builder.metrics.result import Calibration, Evaluation, Split, evaluate_scores
from pragmatiq_builder.metrics.wording import verdict_lines

__all__ = [
    "METRICS",
    "Calibration",
    "Difference",
    "Estimate",
    "Evaluation",
    "Split",
    "bootstrap",
    "evaluate_scores",
    "measure",
    "verdict_lines",
    "write_report",
]
