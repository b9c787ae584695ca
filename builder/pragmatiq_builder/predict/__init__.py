"""``pragmatiq predict``: scores and embeddings of a book of customers as a parquet file, without a server."""

from pragmatiq_builder.predict.book import Predicted, predict

__all__ = ["Predicted", "predict"]
