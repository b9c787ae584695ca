"""Whose turn it is: requests take turns, and a turn is one piece of work of bounded size.

A request's work is its unknown events, in chunks of one length and at most ``CHUNK_TOKENS`` slots, and then a history
per user. A request with thousands of new events therefore holds a core for one chunk at a time, and one with a single
new event waits for at most one turn of each other request. Nobody starves: every request in the queue has its turn in
every round. A chunk with room takes in events of that length that other requests wait for, so small requests are
encoded together, and an event that several of them wait for is encoded once.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from pragmatiq_triton.batch import Batch, Float32, Int32, Token
from pragmatiq_triton.scorer.scorer import CHUNK_TOKENS, Embeddings

LEAST_CHUNK_TOKENS = 128
"""A smaller chunk costs more in calls than it gains by keeping all cores at work to the end."""

Done = Callable[[Embeddings | Exception], None]
Ended = Callable[[], Exception | None]
"""Why nobody waits for a request's answer any more; None while somebody does."""


def somebody_waits() -> None:
    """The :data:`Ended` of a request that is waited for however long it takes."""
    return


@dataclass(slots=True, eq=False)
class PendingEvent:
    """An event without a vector yet, and the rows of requests that it is for.

    ``tokens`` int32 [length, 4]; their last column points into ``projected_texts`` [n_texts, dim].
    """

    key: bytes
    tokens: Int32
    projected_texts: Float32
    places: list[tuple["Job", int]] = field(default_factory=list)
    taken: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """A request under way. ``event_vectors`` [n_events, dim] and ``embeddings`` fill up; ``missing`` counts events
    whose vectors are still to come, ``todo`` holds those that nobody has begun, longest last.
    """

    batch: Batch
    event_vectors: Float32
    embeddings: Embeddings
    done: Done
    counted: bool = True
    ended: Ended = somebody_waits
    missing: int = 0
    todo: list[PendingEvent] = field(default_factory=list)
    next_user: int = 0
    users_left: int = 0
    queued: bool = False
    error: Exception | None = None
    submitted: float = 0.0
    looked_up: float = 0.0
    begun: float = 0.0
    encoded: float = 0.0

    @property
    def n_bytes(self) -> int:
        """Of its large arrays."""
        return self.event_vectors.nbytes + self.batch.tokens.nbytes + self.batch.text_vectors.nbytes

    @property
    def has_work(self) -> bool:
        """Whether a worker could take something now."""
        while self.todo and self.todo[-1].taken:
            self.todo.pop()
        return bool(self.todo) or (self.missing == 0 and self.next_user < self.batch.n_users)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events of one length, to be encoded in one call."""

    events: list[PendingEvent]


@dataclass(frozen=True, slots=True)
class History:
    """One user of a job whose event vectors are all there."""

    job: Job
    user: int


class FairQueue:
    """Jobs in the order of their turns; not for several threads at once."""

    def __init__(self, n_workers: int) -> None:
        self._n_workers = n_workers
        self._turns: deque[Job] = deque()
        self._waiting: defaultdict[int, deque[PendingEvent]] = defaultdict(deque)
        self._waiting_tokens = 0
        self._dropped: list[Job] = []

    def __bool__(self) -> bool:
        return any(job.has_work for job in self._turns)

    def expect(self, events: Iterable[PendingEvent]) -> None:
        """Let ``events``, which are new, be encoded together with others of their length."""
        for event in events:
            self._waiting[len(event.tokens)].append(event)
            self._waiting_tokens += len(event.tokens) + 1

    def add(self, job: Job) -> None:
        """Put ``job`` at the end of the queue, if there is something to do for it."""
        if not job.queued and job.has_work:
            job.queued = True
            self._turns.append(job)

    def take(self) -> Chunk | History | None:
        """The next piece of work, None where there is none."""
        while self._turns:
            job = self._turns.popleft()
            job.queued = False
            if not job.has_work:
                continue
            if ended := job.ended():
                job.error = ended
                self._drop(job)
                continue
            job.begun = job.begun or perf_counter()
            unit: Chunk | History
            if job.todo:
                unit = Chunk(self._chunk(job))
            else:
                unit = History(job, job.next_user)
                job.next_user += 1
            self.add(job)
            return unit
        return None

    def dropped(self) -> list[Job]:
        """The jobs that nobody waits for, once each: out of the queue, and with their events that nobody needs."""
        jobs, self._dropped = self._dropped, []
        return jobs

    def _drop(self, job: Job) -> None:
        """Take a job's work out of what is to be done, but for events that others wait for."""
        unneeded = []
        for event in job.todo:
            event.places = [place for place in event.places if place[0] is not job]
            if not event.taken and not event.places:
                event.taken = True
                self._waiting_tokens -= len(event.tokens) + 1
                unneeded.append(event)
        job.todo = unneeded
        job.next_user = job.batch.n_users
        self._dropped.append(job)

    def _chunk(self, job: Job) -> list[PendingEvent]:
        """The job's longest events, and others' of that length where there is room."""
        length = len(job.todo[-1].tokens)
        share = self._waiting_tokens // (2 * self._n_workers)
        tokens = min(CHUNK_TOKENS, max(LEAST_CHUNK_TOKENS, share))
        room = max(1, tokens // (length + 1))
        events: list[PendingEvent] = []
        while len(events) < room and job.todo and len(job.todo[-1].tokens) == length:
            self._take(job.todo.pop(), events)
        others = self._waiting[length]
        while len(events) < room and others:
            event = others.popleft()
            if not all(of.ended() for of, _ in event.places):
                self._take(event, events)
        while others and others[0].taken:
            others.popleft()
        return events

    def _take(self, event: PendingEvent, events: list[PendingEvent]) -> None:
        if not event.taken:
            event.taken = True
            self._waiting_tokens -= len(event.tokens) + 1
            events.append(event)


def lay_out(events: list[PendingEvent]) -> tuple[Int32, Float32]:
    """Tokens int32 [n, length, 4] of events of one length, and a projected text for each of their text tokens.

    The last of these is zero: what -1, no text, reaches.
    """
    tokens = np.stack([event.tokens for event in events])
    numbers = tokens[..., Token.TEXT]
    texts = [event.projected_texts[row[row >= 0]] for event, row in zip(events, numbers, strict=True)]
    numbers[numbers >= 0] = np.arange(sum(map(len, texts)))
    nothing = np.zeros((1, events[0].projected_texts.shape[1]), np.float32)
    return tokens, np.concatenate([*texts, nothing])
