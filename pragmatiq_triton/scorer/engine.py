"""Scoring for a server: requests come at any time, share what is encoded, and are answered as soon as each is done."""

import logging
import threading
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter

import numpy as np

from pragmatiq_triton.batch import Batch, Float32, Int64, Token, cu_seqlens
from pragmatiq_triton.cache.vectors import VectorCache, as_bytes, as_numbers
from pragmatiq_triton.errors import NotFiniteError
from pragmatiq_triton.finite import not_finite_rows
from pragmatiq_triton.scorer.checks import check_event_keys, check_event_lengths, check_profiles, check_tokens
from pragmatiq_triton.scorer.fair_queue import (
    Chunk,
    Done,
    Ended,
    FairQueue,
    History,
    Job,
    PendingEvent,
    lay_out,
    somebody_waits,
)
from pragmatiq_triton.scorer.scorer import Embeddings, Scorer
from pragmatiq_triton.scorer.timings import Timings

logger = logging.getLogger(__name__)

MAX_HELD_BYTES = 512 * 1024 * 1024
"""Of requests under way; beyond it a new request waits in the server's own queue."""


class ScoringEngine:
    """A scorer's graphs behind an event cache and a fair queue, one worker thread per core.

    The answers are :meth:`Scorer.embed`'s, to rounding (1e-6), whatever is cached and whoever else asks.
    """

    def __init__(self, scorer: Scorer, cache: VectorCache) -> None:
        self.cache = cache
        self.timings = Timings()
        self._scorer = scorer
        self._queue = FairQueue(scorer.threads)
        self._pending: dict[bytes, PendingEvent] = {}
        self._held_bytes = 0
        self._busy = 0
        self._closed = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._workers = [
            threading.Thread(target=self._run, name=f"scorer-{i}", daemon=True) for i in range(scorer.threads)
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, batch: Batch, done: Done, *, counted: bool = True, ended: Ended = somebody_waits) -> None:
        """Score ``batch``, whose events have keys; a worker calls ``done`` with the embeddings or what went wrong.

        Once ``ended`` says why nobody waits any more, what was not begun is not done, and ``done`` gets that.
        Blocks while too much is under way. The timings are those of ``counted`` requests. Raises
        :class:`~pragmatiq_triton.errors.DataError` if ``batch`` is inconsistent or was made for another model.
        """
        started = perf_counter()
        check_event_keys(batch)
        check_event_lengths(batch, self._scorer.text_dim)
        check_profiles(batch, self._scorer.vocab_size)
        vectors = np.empty((len(batch.events), self._scorer.dim), np.float32)
        missing = self.cache.take(batch.event_keys, vectors)
        events = self._unknown_events(batch, missing)
        embeddings = Embeddings(*np.empty((2, batch.n_users, self._scorer.dim), np.float32))
        job = Job(
            batch,
            vectors,
            embeddings,
            done,
            counted=counted,
            ended=ended,
            missing=len(missing),
            users_left=batch.n_users,
            submitted=started,
        )
        if not batch.n_users:
            done(embeddings)
            return
        job.looked_up = perf_counter()
        with self._lock:
            while self._held_bytes and self._held_bytes + job.n_bytes > MAX_HELD_BYTES:
                self._room.wait()
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._held_bytes += job.n_bytes
            self._await_events(job, events, missing)
            self._queue.add(job)
            self._work.notify()

    def close(self) -> None:
        """Finish what was submitted and end the workers."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
        for worker in self._workers:
            worker.join()

    def _unknown_events(self, batch: Batch, missing: Int64) -> list[PendingEvent]:
        """The rows ``missing`` as events, with copies of what encoding them needs."""
        if not len(missing):
            return []
        tokens = batch.tokens_of(missing)
        check_tokens(tokens, self._scorer.vocab_size, len(batch.text_vectors))
        used, numbers = np.unique(tokens[:, Token.TEXT], return_inverse=True)
        tokens[:, Token.TEXT] = numbers - np.count_nonzero(used < 0)
        used = used[used >= 0]
        projected = self._scorer.project(batch.text_vectors[used]) if len(used) else None
        texts = np.zeros((0, self._scorer.dim), np.float32) if projected is None else projected[:-1]
        keys = as_bytes(batch.event_keys[missing])
        bounds = pairwise(cu_seqlens(batch.token_counts[missing]).tolist())
        return [PendingEvent(key, tokens[a:b], texts) for key, (a, b) in zip(keys, bounds, strict=True)]

    def _await_events(self, job: Job, events: list[PendingEvent], rows: Int64) -> None:
        """Have each of ``events``, for ``rows`` of the job, encoded once, whoever else waits for it."""
        new: list[PendingEvent] = []
        for event, row in zip(events, rows.tolist(), strict=True):
            known = self._pending.setdefault(event.key, event)
            if known is event:
                new.append(event)
            if not known.taken and (not known.places or known.places[-1][0] is not job):
                job.todo.append(known)
            known.places.append((job, row))
        job.todo.sort(key=lambda event: len(event.tokens))
        self._queue.expect(new)

    def _run(self) -> None:
        settle: Callable[[], None] | None = None
        while taken := self._next(settle):
            unit, alone, dropped = taken
            for job in dropped:
                self._answer(job)
            if unit is None:
                settle = None
            else:
                settle = self._encode(unit.events) if isinstance(unit, Chunk) else self._finish(unit, wide=alone)

    def _next(self, settle: Callable[[], None] | None) -> tuple[Chunk | History | None, bool, list[Job]] | None:
        """Book what the worker has done, and take what is next and whether it is all there is to do; None at the end.

        In one go, so that what follows from a piece of work is done by the same worker, without waking another. With it
        come the jobs that nobody waits for any more, to be told so.
        """
        with self._lock:
            if settle:
                settle()
                self._busy -= 1
            while (unit := self._queue.take()) is None:
                if dropped := self._dropped():
                    return None, False, dropped
                if self._closed and not self._pending and not self._busy:
                    self._work.notify_all()
                    return None
                self._work.wait()
            alone = not self._busy and not self._queue
            if not alone:
                self._work.notify()
            self._busy += 1
            return unit, alone, self._dropped()

    def _dropped(self) -> list[Job]:
        """Jobs that were just given up, with what they held let go."""
        jobs = self._queue.dropped()
        for job in jobs:
            for event in job.todo:
                del self._pending[event.key]
            job.todo = []
            self._release(job)
        return jobs

    def _encode(self, events: list[PendingEvent]) -> Callable[[], None]:
        """Encode a chunk; what is returned hands the vectors to the requests that wait for them."""
        started = perf_counter()
        error: Exception | None = None
        wrong: list[int] = []
        vectors: Float32 = np.zeros((len(events), self._scorer.dim), np.float32)
        try:
            tokens, texts = lay_out(events)
            vectors = self._scorer.encode_events(tokens, texts if self._scorer.text_dim else None)
            wrong = not_finite_rows(vectors).tolist()
            good = [row for row in range(len(events)) if row not in wrong]
            self.cache.put(as_numbers(b"".join(events[row].key for row in good)), vectors[good])
        except Exception as caught:
            error = caught
        # Of a chunk, only the requests whose own event it is suffer.
        errors = [error] * len(events)
        for row in wrong:
            errors[row] = NotFiniteError(
                "an event's vector is not finite (NaN or infinity): the event encoder or a text vector is damaged; "
                "export the run again"
            )
        ended = perf_counter()

        def settle() -> None:
            self.timings.add_graph("events", ended - started)
            for event, vector, error in zip(events, vectors, errors, strict=True):
                del self._pending[event.key]
                for job, row in event.places:
                    job.event_vectors[row] = vector
                    job.missing -= 1
                    job.error = job.error or error
                    if job.missing == 0:
                        job.encoded = ended
                        self._queue.add(job)

        return settle

    def _finish(self, unit: History, wide: bool) -> Callable[[], None]:
        """Encode one user's history, and answer the job that has no other left."""
        started = perf_counter()
        job, user, batch = unit.job, unit.user, unit.job.batch
        error = job.error
        try:
            if error is None:
                events = slice(*batch.event_cu_seqlens[user : user + 2])
                found = self._scorer.encode_history(
                    self._scorer.profile_vector(batch, user), job.event_vectors[events], batch.events[events], wide
                )
                for of_users, of_user in zip(job.embeddings, found, strict=True):
                    of_users[user] = of_user
        except Exception as caught:
            error = caught
        ended = perf_counter()
        with self._lock:
            job.error = job.error or error
            job.users_left -= 1
            is_last = not job.users_left
            if job.counted:
                self.timings.add_graph("histories", ended - started)
                if is_last:
                    self.timings.add_job(job, ended)
        if is_last:
            self._answer(job)
        return lambda: self._release(job) if is_last else None

    def _answer(self, job: Job) -> None:
        try:
            job.done(job.error or job.embeddings)
        except Exception:
            # It could not be delivered; the next request must not suffer for it.
            logger.exception("an answer could not be given")

    def _release(self, job: Job) -> None:
        self._held_bytes -= job.n_bytes
        self._room.notify_all()
