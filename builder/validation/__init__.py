"""Checks that a folder of raw data keeps the contract."""

from builder.validation.report import Finding, ValidationReport
from builder.validation.validate import validate

__all__ = ["Finding", "ValidationReport", "validate"]
