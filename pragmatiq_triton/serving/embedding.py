"""The second stage, in embed repositories: distinct strings become their frozen vectors."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.serving.stage import Answer, Tensors, isolated, threads_of
from pragmatiq_triton.tensors import TEXT_VECTORS, Arrays, unpack_texts
from pragmatiq_triton.text_encoders import TextEncoder, TextEncoderSpec, create_text_encoder

ENCODER_FILE = "text_encoder.json"


class TextEmbedderStage:
    """Reads ``texts`` uint8 [users, n_bytes] and ``text_offsets`` int32 [users, n_texts + 1]."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    @classmethod
    def load(cls, folder: Path, parameters: dict[str, str]) -> "TextEmbedderStage":
        """The encoder that export wrote into ``folder``, behind its table of the strings seen in training."""
        try:
            spec = msgspec.json.decode((folder / ENCODER_FILE).read_bytes(), type=TextEncoderSpec)
        except (OSError, msgspec.DecodeError) as error:
            raise ArtifactError(f"{folder / ENCODER_FILE}: expected a text encoder's settings: {error}") from None
        device = parameters.get("device", "cpu")
        return cls(create_text_encoder(_located(spec, folder), device=device, threads=threads_of(parameters)))

    def __call__(self, requests: Sequence[Arrays]) -> list[Answer]:
        return isolated(self._embed, requests)

    def _embed(self, requests: Sequence[Arrays]) -> list[Tensors]:
        users_of = [unpack_texts(request) for request in requests]
        texts = list({text: None for users in users_of for user in users for text in user})
        vectors = self._encoder.encode(texts)
        rows = dict(zip(texts, range(len(texts)), strict=True))
        answers: list[Tensors] = []
        for users in users_of:
            out = np.zeros((len(users), max(map(len, users), default=0), self._encoder.dim), np.float32)
            for row, user in enumerate(users):
                out[row, : len(user)] = vectors[[rows[text] for text in user]]
            answers.append({TEXT_VECTORS: out})
        return answers


def _located(spec: TextEncoderSpec, folder: Path) -> TextEncoderSpec:
    """The settings with models that lie in ``folder`` named by their full path."""
    fallback = _located(spec.fallback, folder) if spec.fallback else None
    inside = folder / spec.text_model if spec.text_model else None
    text_model = str(inside) if inside and inside.exists() else spec.text_model
    return msgspec.structs.replace(spec, text_model=text_model, fallback=fallback)
