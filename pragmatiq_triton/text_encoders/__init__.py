"""Frozen text encoders: string -> vector, the same in training and in serving.

``hash`` needs nothing but numpy, ``table`` looks vectors up, ``nemotron`` runs a transformers model; an own encoder is
named by its import path. Importing this package imports neither torch nor transformers.
"""

from pragmatiq_triton.text_encoders.protocol import TextEncoder, TextEncoderSpec
from pragmatiq_triton.text_encoders.registry import TextEncoderFactory, create_text_encoder, register_text_encoder

__all__ = [
    "TextEncoder",
    "TextEncoderFactory",
    "TextEncoderSpec",
    "create_text_encoder",
    "register_text_encoder",
]
