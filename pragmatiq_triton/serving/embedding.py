"""The second stage, in embed repositories: distinct strings become their frozen vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import DataError, NotFiniteError
from pragmatiq_triton.serving.metrics import Sample, cache_samples, time_samples
from pragmatiq_triton.serving.stage import Reply, Stage, threads_of, whole_number
from pragmatiq_triton.tensors import TEXT_VECTORS, Arrays, unpack_texts
from pragmatiq_triton.text_encoders import TextEncoder, TextEncoderSpec, create_text_encoder
from pragmatiq_triton.text_encoders.cached import CachedTextEncoder
from pragmatiq_triton.text_encoders.pooling import pooling_of
from pragmatiq_triton.text_encoders.trust import ENCODER_FILE, read_spec
from pragmatiq_triton.vector_cache import VectorCache

DEFAULT_CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Open:
    """A request some of whose strings have no vector yet: these, by the places [user, text] in ``vectors``."""

    reply: Reply
    vectors: Float32
    missing: dict[bytes, list[tuple[int, int]]]


class TextEmbedderStage(Stage):
    """Reads ``texts`` uint8 [users, n_bytes] and ``text_offsets`` int32 [users, n_texts + 1].

    Strings that came lately, up to ``cache_bytes`` of them, are not looked up or computed again. Requests whose strings
    are all known are answered before the encoder is asked for the others.
    """

    def __init__(self, encoder: TextEncoder, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._encoder = CachedTextEncoder(encoder, VectorCache(encoder.dim, cache_bytes))
        self._seconds = {"lookup": 0.0, "encode": 0.0}
        self._n_requests = 0

    @classmethod
    def load(cls, folder: Path, parameters: dict[str, str], trusted: bool | None = None) -> "TextEmbedderStage":
        """The encoder that export wrote into ``folder``, behind its table of the strings seen in training.

        ``trusted``: as of :func:`~pragmatiq_triton.text_encoders.create_text_encoder`.
        """
        cache_bytes = whole_number(parameters, "text_cache_bytes", DEFAULT_CACHE_BYTES)
        return cls(load_text_encoder(folder, parameters, trusted), cache_bytes)

    def submit(self, requests: Sequence[Arrays], replies: Sequence[Reply], *, counted: bool = True) -> None:
        started = perf_counter()
        opened: list[_Open] = []
        for request, reply in zip(requests, replies, strict=True):
            try:
                one = self._look_up(request, reply)
            except DataError as error:
                reply(error)
                continue
            if one.missing:
                opened.append(one)
            else:
                reply({TEXT_VECTORS: one.vectors})
        looked_up = perf_counter()
        if opened:
            self._answer(opened)
        if counted:
            self._seconds["lookup"] += looked_up - started
            self._seconds["encode"] += perf_counter() - looked_up
            self._n_requests += len(requests)

    def samples(self) -> list[Sample]:
        return [
            *cache_samples("texts", self._encoder.cache),
            *time_samples("stage", self._seconds, dict.fromkeys(self._seconds, self._n_requests)),
        ]

    def _look_up(self, request: Arrays, reply: Reply) -> _Open:
        users = unpack_texts(request)
        vectors = np.zeros((len(users), max(map(len, users), default=0), self._encoder.dim), np.float32)
        missing: dict[bytes, list[tuple[int, int]]] = {}
        for user, texts in enumerate(users):
            for row in self._encoder.known(texts, vectors[user, : len(texts)]).tolist():
                missing.setdefault(texts[row], []).append((user, row))
        return _Open(reply, vectors, missing)

    def _answer(self, opened: list[_Open]) -> None:
        """Encode the strings of all at once; where that fails, those of each, so that the others are answered."""
        texts = list({text: None for one in opened for text in one.missing})
        try:
            vectors = dict(zip(texts, self._encoder.encode(texts), strict=True))
        except (DataError, NotFiniteError, UnicodeDecodeError) as error:
            if len(opened) > 1:
                for one in opened:
                    self._answer([one])
            else:
                is_utf8 = not isinstance(error, UnicodeDecodeError)
                opened[0].reply(error if is_utf8 else DataError(f"texts: expected UTF-8: {error}"))
            return
        for one in opened:
            for text, places in one.missing.items():
                for place in places:
                    one.vectors[place] = vectors[text]
            one.reply({TEXT_VECTORS: one.vectors})


def load_text_encoder(folder: Path, parameters: dict[str, str], trusted: bool | None = None) -> TextEncoder:
    """The encoder that export wrote into ``folder``.

    :class:`ArtifactError` where its settings cannot be read, :class:`ConfigError` for code that may not run.
    """
    spec = _located(read_spec(folder / ENCODER_FILE), folder)
    device = parameters.get("device", "cpu")
    return create_text_encoder(spec, device=device, threads=threads_of(parameters), trusted=trusted)


def _located(spec: TextEncoderSpec, folder: Path) -> TextEncoderSpec:
    """The settings with models that lie in ``folder`` named by their full path.

    Where an older export did not say how its model pools, it was by the plain mean.
    """
    fallback = _located(spec.fallback, folder) if spec.fallback else None
    inside = folder / spec.text_model if spec.text_model else None
    text_model = str(inside) if inside and inside.exists() else spec.text_model
    pooling = spec.pooling or (pooling_of(None) if spec.encoder == "nemotron" else None)
    return msgspec.structs.replace(spec, text_model=text_model, fallback=fallback, pooling=pooling)
