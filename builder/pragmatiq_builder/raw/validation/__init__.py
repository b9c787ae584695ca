"""Checks that a folder of raw data keeps the contract."""

from pragmatiq_builder.raw.validation.report import Finding, ValidationReport
from pragmatiq_builder.raw.validation.validate import validate

__all__ = ["Finding", "ValidationReport", "validate"]
