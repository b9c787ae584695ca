"""A bank's own tables become the raw contract: ``ingest.yaml`` says what is what, DuckDB does the work."""

from pragmatiq_builder.ingest.ingest import ingest
from pragmatiq_builder.ingest.report import IngestReport, LimitsExceededError

__all__ = ["IngestReport", "LimitsExceededError", "ingest"]
