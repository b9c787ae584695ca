"""A synthetic bank: customers with habits, their raw events, and labels that depend on what the history shows."""

from pragmatiq_builder.synth.generate import LabelCount, SynthSummary, generate

__all__ = ["LabelCount", "SynthSummary", "generate"]
