"""The last stage: tokens, text vectors and features become the user embedding and the task scores."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from pragmatiq_triton.batch import Batch, Float32, collate, newest_events
from pragmatiq_triton.cache.snapshot import Snapshot, SnapshotKeeper, find_snapshot
from pragmatiq_triton.cache.vectors import VectorCache
from pragmatiq_triton.drain import Drain
from pragmatiq_triton.errors import NotFiniteError
from pragmatiq_triton.finite import require_finite
from pragmatiq_triton.scorer import Embeddings, Scorer, TaskHeads
from pragmatiq_triton.scorer.engine import ScoringEngine
from pragmatiq_triton.serving.counted_scores import ScoreCounts
from pragmatiq_triton.serving.metrics import Sample, cache_samples, time_samples
from pragmatiq_triton.serving.parameters import ScorerParameters, read_parameters
from pragmatiq_triton.serving.stage import Reply, Stage, terms_of
from pragmatiq_triton.serving.terms import Terms
from pragmatiq_triton.tensors import EMBEDDING, SCORES, TASK_NAMES, TASKS, Arrays, task_names, unpack_users


class ScorerStage(Stage):
    """Reads the tokenizer's numbers and, in embed repositories, ``text_vectors`` [users, n_texts, text_dim].

    Of a history it sees the newest ``max_events``, 0 for all; it keeps up to ``cache_bytes`` of event vectors,
    those of ``snapshot`` from the start.
    """

    def __init__(
        self,
        scorer: Scorer,
        heads: TaskHeads,
        *,
        tasks: Sequence[str] = (),
        max_events: int = 0,
        cache_bytes: int = ScorerParameters().event_cache_bytes,
        snapshot: Snapshot | None = None,
    ) -> None:
        cache = VectorCache(scorer.dim, cache_bytes)
        self._keeper = SnapshotKeeper(snapshot, cache, Drain.of_process()) if snapshot else None
        self._engine = ScoringEngine(scorer, cache)
        self._heads = heads
        self._max_events = max_events
        self._tasks = np.array([task.encode() for task in tasks], np.object_)
        self._task_names = np.frombuffer(task_names(tasks), np.uint8)
        self._scores = ScoreCounts(tasks)
        self._reply_seconds = 0.0
        self._counting = threading.Lock()

    @classmethod
    def load(cls, folder: Path, parameters: dict[str, str], *, keeps_snapshot: bool = True) -> "ScorerStage":
        """The graphs in ``folder``, with the limits that the model's parameters set.

        ``keeps_snapshot``: whether event vectors are read from and written to the server's cache folder, if it has one.
        :class:`~pragmatiq_triton.errors.ArtifactError` where the heads are not those of the parameter ``tasks``.
        """
        its = read_parameters(ScorerParameters, parameters)
        heads = TaskHeads(folder)
        heads.require_tasks(its.task_list)
        return cls(
            Scorer(folder, threads=its.n_threads),
            heads,
            tasks=its.task_list,
            max_events=its.max_events,
            cache_bytes=its.event_cache_bytes,
            snapshot=find_snapshot(its.event_vectors) if keeps_snapshot else None,
        )

    def submit(
        self,
        requests: Sequence[Arrays],
        replies: Sequence[Reply],
        *,
        counted: bool = True,
        terms: Sequence[Terms] = (),
    ) -> None:
        for request, reply, its in zip(requests, replies, terms_of(requests, terms), strict=True):
            try:
                batch = self._batch(request)
                done = self._answering(batch.features, reply, counted)
                self._engine.submit(batch, done, counted=counted, ended=its.ended)
            except Exception as error:
                reply(error)

    def samples(self) -> list[Sample]:
        timings = self._engine.timings
        seconds = {**timings.stage_seconds, "reply": self._reply_seconds}
        return [
            *cache_samples("events", self._engine.cache),
            *self._scores.samples(),
            *time_samples("stage", seconds, dict.fromkeys(seconds, timings.jobs)),
            *time_samples("graph", timings.graph_seconds, timings.graph_runs),
        ]

    def close(self) -> None:
        self._engine.close()
        if self._keeper:
            self._keeper.close()

    def _batch(self, request: Arrays) -> Batch:
        users = unpack_users(request)
        read = [newest_events(user, self._max_events) if self._max_events else user for user, _ in users]
        return collate(read, [vectors for _, vectors in users])

    def _finite_scores(self, found: Embeddings, features: Float32) -> Float32:
        """The heads' scores; :class:`NotFiniteError` names what is not finite.

        The vectors are looked at first: heads read a NaN as unknown, which is right for a feature, and make a
        probability of it.
        """
        remedy = "a graph of the scorer is damaged; export the run again"
        for name, vectors in found._asdict().items():
            require_finite(name, vectors, remedy)
        scores = self._heads(found, features)
        wrong = np.flatnonzero(~np.isfinite(scores).all(axis=0))
        if len(wrong):
            named = [self._tasks[task].decode() for task in wrong.tolist() if task < len(self._tasks)]
            raise NotFiniteError(f"scores: {', '.join(named) or 'a task'}: not finite (NaN or infinity); {remedy}")
        return scores

    def _answering(self, features: Float32, reply: Reply, counted: bool) -> Callable[[Embeddings | Exception], None]:
        """What a worker of the engine calls with the embeddings of users with ``features``."""

        def answer(found: Embeddings | Exception) -> None:
            started = perf_counter()
            if isinstance(found, Exception):
                reply(found)
                return
            try:
                scores = self._finite_scores(found, features)
            except Exception as error:
                reply(error)
                return
            names, tasks = (each[np.newaxis].repeat(len(scores), axis=0) for each in (self._task_names, self._tasks))
            # Of these Triton is given what the config of the repository has.
            reply({SCORES: scores, EMBEDDING: found.user_embedding, TASK_NAMES: names, TASKS: tasks})
            if not counted:
                return
            with self._counting:
                self._scores.add(scores)
                self._reply_seconds += perf_counter() - started

        return answer
