"""The last stage: tokens, text vectors and features become the user embedding and the task scores."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pragmatiq_triton.batch import collate, cu_seqlens
from pragmatiq_triton.scorer import Scorer, TaskHeads
from pragmatiq_triton.serving.stage import Answer, Tensors, isolated, threads_of
from pragmatiq_triton.tensors import EMBEDDING, SCORES, Arrays, unpack_users


class ScorerStage:
    """Reads the tokenizer's numbers and, in embed repositories, ``text_vectors`` [users, n_texts, text_dim]."""

    def __init__(self, scorer: Scorer, heads: TaskHeads) -> None:
        self._scorer = scorer
        self._heads = heads

    @classmethod
    def load(cls, folder: Path, parameters: dict[str, str]) -> "ScorerStage":
        """The graphs in ``folder``."""
        return cls(Scorer(folder, threads=threads_of(parameters)), TaskHeads(folder))

    def __call__(self, requests: Sequence[Arrays]) -> list[Answer]:
        return isolated(self._score, requests)

    def _score(self, requests: Sequence[Arrays]) -> list[Tensors]:
        users_of = [unpack_users(request) for request in requests]
        users = [user for users in users_of for user in users]
        batch = collate([user for user, _ in users], [vectors for _, vectors in users])
        embeddings = self._scorer.embed(batch)
        scores = self._heads(embeddings, batch.features)
        bounds = cu_seqlens([len(users) for users in users_of])
        return [{SCORES: scores[a:b], EMBEDDING: embeddings.user_embedding[a:b]} for a, b in pairwise(bounds)]
