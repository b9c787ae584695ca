"""The second stage, in embed repositories: distinct strings become their frozen vectors."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.cache.vectors import VectorCache
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.serving.metrics import Sample, cache_samples, time_samples
from pragmatiq_triton.serving.parameters import TextEmbedderParameters, read_parameters
from pragmatiq_triton.serving.stage import Answer, Reply, Stage, terms_of
from pragmatiq_triton.serving.terms import Terms
from pragmatiq_triton.serving.turns import TURN_SECONDS, Turns, Work
from pragmatiq_triton.tensors import TEXT_VECTORS, Arrays, unpack_texts
from pragmatiq_triton.text_encoders import TextEncoder, TextEncoderSpec, create_text_encoder
from pragmatiq_triton.text_encoders.cached import CachedTextEncoder
from pragmatiq_triton.text_encoders.pooling import pooling_of
from pragmatiq_triton.text_encoders.trust import ENCODER_FILE, read_spec

PIECE_OF_WORK = 2048
MOST_STRINGS = 64
"""Bytes and strings that the encoder is given in one go, if it is not one string: about 500 tokens of a text model."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A request some of whose strings have no vector yet: these, by the places [user, text] in ``vectors``."""

    reply: Reply
    vectors: Float32
    missing: dict[bytes, list[tuple[int, int]]]


class TextEmbedderStage(Stage):
    """Reads ``texts`` uint8 [users, n_bytes] and ``text_offsets`` int32 [users, n_texts + 1].

    Strings that came lately, up to ``cache_bytes`` of them, are not looked up or computed again. Requests whose strings
    are all known are answered at once; the others take turns, a few strings at a time.
    """

    def __init__(self, encoder: TextEncoder, cache_bytes: int = TextEmbedderParameters().text_cache_bytes) -> None:
        self._encoder = CachedTextEncoder(encoder, VectorCache(encoder.dim, cache_bytes))
        self._turns = Turns()
        self._is_slow = False
        self._seconds = {"lookup": 0.0, "encode": 0.0}
        self._n_requests = 0
        self._counting = threading.Lock()

    @classmethod
    def load(cls, folder: Path, parameters: dict[str, str], trusted: bool | None = None) -> "TextEmbedderStage":
        """The encoder that export wrote into ``folder``, behind its table of the strings seen in training.

        ``trusted``: as of :func:`~pragmatiq_triton.text_encoders.create_text_encoder`.
        """
        its = read_parameters(TextEmbedderParameters, parameters)
        return cls(load_text_encoder(folder, its, trusted), its.text_cache_bytes)

    def submit(
        self,
        requests: Sequence[Arrays],
        replies: Sequence[Reply],
        *,
        counted: bool = True,
        terms: Sequence[Terms] = (),
    ) -> None:
        for request, reply, its in zip(requests, replies, terms_of(requests, terms), strict=True):
            started = perf_counter()
            try:
                one = self._look_up(request, reply)
            except Exception as error:
                reply(error)
                continue
            looked_up = perf_counter()
            if one.missing:
                # A slow encoder is not waited for here, where requests come whose strings are known.
                (self._turns.later if self._is_slow else self._turns.run)(self._work(one, looked_up, counted, its))
            else:
                reply({TEXT_VECTORS: one.vectors})
            if counted:
                with self._counting:
                    self._seconds["lookup"] += looked_up - started
                    self._n_requests += 1

    def close(self) -> None:
        self._turns.close()

    def samples(self) -> list[Sample]:
        return [
            *cache_samples("texts", self._encoder.cache),
            Sample("pragmatiq_truncations_total", self._encoder.n_cut, {"part": "texts"}),
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

    def _work(self, one: _Open, looked_up: float, counted: bool, terms: Terms) -> Work:
        """Encodes what is missing, a few strings at a time, and answers."""
        answer: Answer = {TEXT_VECTORS: one.vectors}
        try:
            for texts in _pieces_of_work(self._still_missing(one, looked_up)):
                started = perf_counter()
                for text, vector in zip(texts, self._encoder.encode(texts), strict=True):
                    for place in one.missing[text]:
                        one.vectors[place] = vector
                self._is_slow = perf_counter() - started > TURN_SECONDS
                yield
                if ended := terms.ended():
                    raise ended
        except UnicodeDecodeError as error:
            answer = DataError(f"texts: expected UTF-8: {error}")
        except Exception as error:
            answer = error
        if counted:
            with self._counting:
                self._seconds["encode"] += perf_counter() - looked_up
        one.reply(answer)

    def _still_missing(self, one: _Open, looked_up: float) -> list[bytes]:
        """The strings without a vector: fewer than when they were looked up, if others had their turn since."""
        texts = [*one.missing]
        if perf_counter() - looked_up < TURN_SECONDS:
            return texts
        vectors = np.zeros((len(texts), self._encoder.dim), np.float32)
        rows = set(self._encoder.known(texts, vectors).tolist())
        for row, text in enumerate(texts):
            if row not in rows:
                for place in one.missing[text]:
                    one.vectors[place] = vectors[row]
        return [texts[row] for row in sorted(rows)]


def _pieces_of_work(texts: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The strings, so many at a time as have about ``PIECE_OF_WORK`` bytes."""
    piece: list[bytes] = []
    total = 0
    for text in texts:
        if piece and (total + len(text) > PIECE_OF_WORK or len(piece) == MOST_STRINGS):
            yield piece
            piece, total = [], 0
        piece.append(text)
        total += len(text)
    if piece:
        yield piece


def load_text_encoder(folder: Path, parameters: TextEmbedderParameters, trusted: bool | None = None) -> TextEncoder:
    """The encoder that export wrote into ``folder``.

    :class:`ArtifactError` where its settings cannot be read, :class:`ConfigError` for code that may not run.
    """
    spec = _located(read_spec(folder / ENCODER_FILE), folder)
    return create_text_encoder(spec, device=parameters.device, threads=parameters.n_threads, trusted=trusted)


def _located(spec: TextEncoderSpec, folder: Path) -> TextEncoderSpec:
    """The settings with models that lie in ``folder`` named by their full path.

    Where an older export did not say how its model pools, it was by the plain mean.
    """
    fallback = _located(spec.fallback, folder) if spec.fallback else None
    inside = folder / spec.text_model if spec.text_model else None
    text_model = str(inside) if inside and inside.exists() else spec.text_model
    pooling = spec.pooling or (pooling_of(None) if spec.encoder == "nemotron" else None)
    return msgspec.structs.replace(spec, text_model=text_model, fallback=fallback, pooling=pooling)
