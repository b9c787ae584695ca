"""A bank's own tables become the raw contract: ``ingest.yaml`` says what is what, DuckDB does the work."""

from builder.ingest.ingest import ingest
from builder.ingest.report import IngestReport, LimitsExceededError

__all__ = ["IngestReport", "LimitsExceededError", "ingest"]
