"""Scoring on the CPU: exported graphs in, packed batches in, user embeddings out."""

from pragmatiq_triton.scorer.scorer import Scorer

__all__ = ["Scorer"]
