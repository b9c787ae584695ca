"""The last stage: tokens, text vectors and features become the user embedding and the task scores."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pragmatiq_triton.batch import collate, cu_seqlens, newest_events
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.scorer import Scorer, TaskHeads
from pragmatiq_triton.serving.stage import Answer, Tensors, isolated, threads_of
from pragmatiq_triton.tensors import EMBEDDING, SCORES, Arrays, unpack_users


class ScorerStage:
    """Reads the tokenizer's numbers and, in embed repositories, ``text_vectors`` [users, n_texts, text_dim].

    Of a history it sees the newest ``max_events``, 0 for all.
    """

    def __init__(self, scorer: Scorer, heads: TaskHeads, max_events: int = 0) -> None:
        self._scorer = scorer
        self._heads = heads
        self._max_events = max_events

    @classmethod
    def load(cls, folder: Path, parameters: dict[str, str]) -> "ScorerStage":
        """The graphs in ``folder``, with the limit on events that the model's parameters set."""
        max_events = parameters.get("max_events", "0")
        if not max_events.isdecimal():
            raise ConfigError(f"max_events in config.pbtxt: expected a whole number of at least 0, got {max_events!r}")
        return cls(Scorer(folder, threads=threads_of(parameters)), TaskHeads(folder), int(max_events))

    def __call__(self, requests: Sequence[Arrays]) -> list[Answer]:
        return isolated(self._score, requests)

    def _score(self, requests: Sequence[Arrays]) -> list[Tensors]:
        users_of = [unpack_users(request) for request in requests]
        users = [user for users in users_of for user in users]
        read = [newest_events(user, self._max_events) if self._max_events else user for user, _ in users]
        batch = collate(read, [vectors for _, vectors in users])
        embeddings = self._scorer.embed(batch)
        scores = self._heads(embeddings, batch.features)
        bounds = cu_seqlens([len(users) for users in users_of])
        return [{SCORES: scores[a:b], EMBEDDING: embeddings.user_embedding[a:b]} for a, b in pairwise(bounds)]
