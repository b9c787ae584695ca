"""What a model's scores are worth: metrics with intervals over users, verdicts against baselines, a report."""

from builder.evaluation.intervals import Difference, Estimate, bootstrap
from builder.evaluation.metrics import METRICS, measure
from builder.evaluation.report import write_report
from builder.evaluation.result import Calibration, Evaluation, Split, evaluate_scores
from builder.evaluation.wording import verdict_lines

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
