"""A model repository's models in this process: the stages that Triton runs, without a server."""

from pragmatiq_triton.in_process.models import Answered, InProcessModels

__all__ = ["Answered", "InProcessModels"]
