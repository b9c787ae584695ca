"""Task heads: what turns the network's vectors of a user into a probability, as files and as an ONNX graph."""

from pragmatiq_builder.heads.graph import heads_graph
from pragmatiq_builder.heads.head import INPUTS, Head, load_head, save_head
from pragmatiq_builder.heads.parts import Calibrator, Classifier, Isotonic, Linear, Platt, Stacked, Trees
from pragmatiq_builder.heads.scorer import HeadScorer

__all__ = [
    "INPUTS",
    "Calibrator",
    "Classifier",
    "Head",
    "HeadScorer",
    "Isotonic",
    "Linear",
    "Platt",
    "Stacked",
    "Trees",
    "heads_graph",
    "load_head",
    "save_head",
]
