"""Scoring on the CPU: exported graphs in, packed batches in, embeddings and task probabilities out."""

from pragmatiq_triton.scorer.heads import TaskHeads
from pragmatiq_triton.scorer.scorer import Embeddings, Scorer

__all__ = ["Embeddings", "Scorer", "TaskHeads"]
