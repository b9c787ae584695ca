"""Runs side by side: what they were told, how they trained, and what their heads are worth on the same rows."""

from pragmatiq_builder.comparison.compare import Comparison, compare
from pragmatiq_builder.comparison.facts import RunFacts, facts_of, runs_in
from pragmatiq_builder.comparison.page import write_page

__all__ = ["Comparison", "RunFacts", "compare", "facts_of", "runs_in", "write_page"]
