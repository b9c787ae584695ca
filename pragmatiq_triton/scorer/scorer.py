"""Packed batches to user embeddings, with numpy and ONNX Runtime alone."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pragmatiq_triton.batch import Batch, Event, Float32, Int32, Int64, Token, cu_seqlens
from pragmatiq_triton.scorer.checks import check_events, check_profiles
from pragmatiq_triton.scorer.groups import exact_length_chunks, gather_rows
from pragmatiq_triton.scorer.sessions import (
    EVENT_ENCODER,
    HISTORY_ENCODER,
    PROFILE_ENCODER,
    TEXT_PROJECTION,
    TOKEN_EMBEDDING,
    Graph,
    table_shape,
)

# From 128 slots on the matrix kernels are at their speed; more would only hold a core longer.
CHUNK_TOKENS = 256
# A shorter history is done before a sleeping thread is awake.
LEAST_WIDE_EVENTS = 128


class Embeddings(NamedTuple):
    """Float32 [n_users, dim] each: ``user_embedding``, the history's state at its head; ``event_state``, the one at the
    newest event (the head's without events).
    """

    user_embedding: Float32
    event_state: Float32


class Scorer:
    """An exported network (arXiv 2604.08649) on ``threads`` cores; any number of threads may call it at once.

    Every user's result is its own: sequences share a call only with others of exactly their length, histories with
    none, so whoever else is in the batch moves an embedding by rounding at most (1e-6).
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Open what ``pragmatiq_builder.export.export_graphs`` wrote to ``folder``.

        :class:`~pragmatiq_triton.errors.ArtifactError` if it is incomplete or damaged,
        :class:`~pragmatiq_triton.errors.MissingDependencyError` without onnxruntime.
        """
        self.vocab_size, self.dim = table_shape(folder / TOKEN_EMBEDDING)
        self._event_encoder = Graph(folder / EVENT_ENCODER)
        self._profile_encoder = Graph(folder / PROFILE_ENCODER)
        self._history_encoder = Graph(folder / HISTORY_ENCODER)
        self._wide_history_encoder = Graph(folder / HISTORY_ENCODER, threads) if threads > 1 else self._history_encoder
        self._text_projection: Graph | None = None
        self.text_dim = 0
        if "projected_texts" in self._event_encoder.input_shapes:
            self._text_projection = Graph(folder / TEXT_PROJECTION)
            self.text_dim = int(self._text_projection.input_shapes["text_vectors"][1])
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="scorer")

    def embed(self, batch: Batch) -> Embeddings:
        """What the network makes of each user.

        :class:`~pragmatiq_triton.errors.DataError` if ``batch`` is inconsistent or was made for another model.
        """
        return self.histories(batch, self.event_vectors(batch))

    def event_vectors(self, batch: Batch) -> Float32:
        """Each event's vector before its calendar term, float32 [n_events, dim]: what depends on its tokens alone."""
        check_events(batch, self.vocab_size, self.text_dim)
        projected = self.project(batch.text_vectors)
        return self._encode(batch.token_counts, lambda rows: self.encode_events(batch.tokens[rows], projected))

    def histories(self, batch: Batch, event_vectors: Float32) -> Embeddings:
        """What the network makes of each user, with ``event_vectors`` [n_events, dim] for ``batch.tokens``."""
        check_profiles(batch, self.vocab_size)
        profile_vectors = self._encode(
            np.diff(batch.profile_cu_seqlens),
            lambda rows: self._profile_encoder(tokens=batch.profile[rows], log_seconds=batch.profile_times[rows]),
        )
        embeddings = Embeddings(*np.empty((2, batch.n_users, self.dim), np.float32))

        def encode_history(user: int, wide: bool) -> None:
            events = slice(*batch.event_cu_seqlens[user : user + 2])
            found = self.encode_history(
                profile_vectors[user : user + 1], event_vectors[events], batch.events[events], wide
            )
            for of_users, of_user in zip(embeddings, found, strict=True):
                of_users[user] = of_user

        if batch.n_users < self.threads:
            for user in range(batch.n_users):
                encode_history(user, wide=True)
        else:
            longest_first = np.argsort(-np.diff(batch.event_cu_seqlens), kind="stable")
            self._each(lambda user: encode_history(user, wide=False), longest_first)
        return embeddings

    def profile_vector(self, batch: Batch, user: int) -> Float32:
        """Of one user's profile, float32 [1, dim], on the caller's thread."""
        rows = slice(*batch.profile_cu_seqlens[user : user + 2])
        return self._profile_encoder(tokens=batch.profile[None, rows], log_seconds=batch.profile_times[None, rows])

    def project(self, text_vectors: Float32) -> Float32 | None:
        """Frozen vectors [n, text_dim] in the token space, [n + 1, dim], the last row zero; None without texts."""
        if self._text_projection is None:
            return None
        return self._text_projection(text_vectors=text_vectors.reshape(-1, self.text_dim))

    def encode_events(self, tokens: Int32, projected_texts: Float32 | None) -> Float32:
        """Vectors [n, dim] of events of one length, ``tokens`` int32 [n, length, 4], on one thread, the caller's."""
        if projected_texts is None:
            return self._event_encoder(tokens=tokens[..., : Token.TEXT])
        return self._event_encoder(tokens=tokens, projected_texts=projected_texts)

    def encode_history(
        self, profile_vector: Float32, event_vectors: Float32, events: Float32, wide: bool
    ) -> tuple[Float32, Float32]:
        """User embedding and last event's state [1, dim] of one user's [1, dim], [n, dim] and ``events`` [n, 5].

        ``wide``: on all threads instead of the caller's, if there are events enough to wake them for.
        """
        wide = wide and len(events) >= LEAST_WIDE_EVENTS
        user_embedding, event_state = (self._wide_history_encoder if wide else self._history_encoder).outputs(
            profile_vector=profile_vector,
            event_vectors=event_vectors,
            calendar=events[:, Event.HOUR :],
            log_seconds=events[:, Event.LOG_SECONDS],
        )
        return user_embedding, event_state

    def _encode(self, lengths: Int64, encoder: Callable[[Int64], Float32]) -> Float32:
        """Vectors [n, dim] of n sequences laid end to end; ``encoder`` gets rows [k, length] of k that are as long."""
        starts = cu_seqlens(lengths)[:-1]
        vectors = np.empty((len(lengths), self.dim), np.float32)

        def encode_chunk(chunk: Int64) -> None:
            vectors[chunk] = encoder(gather_rows(starts[chunk], int(lengths[chunk[0]])))

        # One slot more than tokens: [EVT] or [USR].
        self._each(encode_chunk, exact_length_chunks(lengths + 1, CHUNK_TOKENS))
        return vectors

    def _each(self, task: Callable[[Any], None], items: Iterable[Any]) -> None:
        for _ in self._pool.map(task, items):
            pass
