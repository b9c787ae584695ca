"""Features of a history for task heads: numbers of what an analyst would count, one function for training and serving.

``history`` puts them together; the families are ``numbers``, ``categories``, ``kinds``, ``rhythm`` and ``profile``.
"""

from pragmatiq_triton.tokenizer.features.history import COUNT_DAYS, RECENCY, FeatureLevel, HistoryFeatures

__all__ = ["COUNT_DAYS", "RECENCY", "FeatureLevel", "HistoryFeatures"]
