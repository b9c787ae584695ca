from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pragmatiq_triton.batch import Batch, Float32, Token, cu_seqlens
from pragmatiq_triton.scorer.fair_queue import (
    LEAST_CHUNK_TOKENS,
    Chunk,
    FairQueue,
    History,
    Job,
    PendingEvent,
    lay_out,
)
from pragmatiq_triton.scorer.scorer import CHUNK_TOKENS, Embeddings

DIM = 2
Unit = Chunk | History


def event_of(length: int, texts: Float32 | None = None) -> PendingEvent:
    tokens = np.zeros((length, 4), np.int32)
    tokens[:, Token.TEXT] = -1
    return PendingEvent(b"", tokens, np.zeros((0, DIM), np.float32) if texts is None else texts)


def job_of(events: Iterable[PendingEvent], n_users: int = 1) -> Job:
    """A request that waits for ``events``."""
    waits_for = sorted(events, key=lambda event: len(event.tokens))
    todo = [event for event in waits_for if not event.taken]
    nothing = np.zeros((0, DIM), np.float32)
    batch = Batch(
        tokens=np.zeros((0, 4), np.int32),
        events=np.zeros((0, 5), np.float32),
        profile=np.zeros((0, 3), np.int32),
        profile_times=np.zeros(0, np.float32),
        event_cu_seqlens=cu_seqlens([0] * n_users),
        profile_cu_seqlens=cu_seqlens([0] * n_users),
        text_vectors=nothing,
        features=nothing,
    )
    job = Job(batch, nothing, Embeddings(nothing, nothing), lambda _: None, missing=len(waits_for), todo=todo)
    for event in waits_for:
        event.places.append((job, 0))
    return job


def fresh(lengths: Iterable[int]) -> list[PendingEvent]:
    return [event_of(length) for length in lengths]


def queue_of(*jobs: Job, n_workers: int = 1) -> FairQueue:
    queue = FairQueue(n_workers)
    for job in jobs:
        enter(queue, job)
    return queue


def enter(queue: FairQueue, job: Job) -> None:
    queue.expect(event for event in job.todo if event.places[0][0] is job)
    queue.add(job)


def finish(queue: FairQueue, unit: Unit) -> None:
    """What an engine does when ``unit`` is computed."""
    for event in unit.events if isinstance(unit, Chunk) else []:
        for job, _ in event.places:
            job.missing -= 1
            if not job.missing:
                queue.add(job)


def drain(queue: FairQueue) -> Iterator[Unit]:
    """One worker: each unit is done before the next is taken."""
    while (unit := queue.take()) is not None:
        yield unit
        finish(queue, unit)


def slots(chunk: Chunk) -> int:
    return sum(len(event.tokens) + 1 for event in chunk.events)


def test_an_empty_queue_has_nothing() -> None:
    queue = FairQueue(1)
    assert not queue
    assert queue.take() is None


def test_a_request_without_missing_events_has_a_turn_per_user() -> None:
    job = job_of([], n_users=3)
    assert list(drain(queue_of(job))) == [History(job, user) for user in range(3)]


def test_histories_only_when_nothing_is_missing() -> None:
    job = job_of(fresh([5]))
    queue = queue_of(job)
    chunk = queue.take()
    assert isinstance(chunk, Chunk)
    assert not queue
    assert queue.take() is None
    finish(queue, chunk)
    assert queue
    assert queue.take() == History(job, 0)


def test_requests_take_turns() -> None:
    jobs = [job_of([], n_users=n) for n in (3, 1, 2)]
    turns = [(jobs.index(unit.job), unit.user) for unit in drain(queue_of(*jobs)) if isinstance(unit, History)]
    assert turns == [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2)]


def test_a_request_is_in_the_queue_once() -> None:
    job = job_of([], n_users=2)
    queue = queue_of(job)
    queue.add(job)
    queue.add(job)
    assert len(list(drain(queue))) == 2


def test_longest_events_come_first() -> None:
    chunks = [unit for unit in drain(queue_of(job_of(fresh([3, 90, 40, 90])))) if isinstance(unit, Chunk)]
    assert [[len(event.tokens) for event in chunk.events] for chunk in chunks] == [[90], [90], [40], [3]]


def test_riders_of_the_same_length_join() -> None:
    first, second, third = fresh([7]), fresh([7, 7, 3]), fresh([8])
    queue = queue_of(*(job_of(events) for events in (first, second, third)))
    assert queue.take() == Chunk([*first, *second[:2]])
    assert queue.take() == Chunk([second[2]])
    assert queue.take() == Chunk(third)


def test_what_two_requests_wait_for_is_taken_once() -> None:
    shared = event_of(6)
    first, second = job_of([shared, *fresh([4])]), job_of([shared, *fresh([9])])
    units = list(drain(queue_of(first, second)))
    events = [event for unit in units if isinstance(unit, Chunk) for event in unit.events]
    assert sorted(len(event.tokens) for event in events) == [4, 6, 9]
    assert {unit.job.missing for unit in units if isinstance(unit, History)} == {0}


def test_a_request_whose_events_others_have_taken_waits_without_a_turn() -> None:
    shared = event_of(6)
    first = job_of([shared])
    queue = queue_of(first)
    chunk = queue.take()
    assert chunk == Chunk([shared])
    second = job_of([shared])
    enter(queue, second)
    assert not queue
    finish(queue, chunk)
    assert list(drain(queue)) == [History(first, 0), History(second, 0)]


@pytest.mark.parametrize("n_workers", [1, 2, 8])
def test_chunks_shrink_towards_the_end(n_workers: int) -> None:
    """Large while there is much to do, so that calls are few; small at last, so that no core idles for long."""
    queue = queue_of(job_of(fresh([7] * 2000)), n_workers=n_workers)
    sizes = [slots(unit) for unit in drain(queue) if isinstance(unit, Chunk)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == CHUNK_TOKENS
    left = sum(sizes)
    for size in sizes:
        assert size <= max(LEAST_CHUNK_TOKENS, left / (2 * n_workers))
        assert size >= min(left, LEAST_CHUNK_TOKENS)
        left -= size


@pytest.mark.parametrize("n_others", [1, 3])
def test_a_small_request_waits_for_one_turn_of_each_other(n_others: int) -> None:
    others = [job_of(fresh([20 + i] * 3000), n_users=5) for i in range(n_others)]
    queue = queue_of(*others, n_workers=2)
    for _ in range(10):
        unit = queue.take()
        assert isinstance(unit, Chunk)
    event = event_of(4)
    small = job_of([event])
    enter(queue, small)
    waited = 0
    while not event.taken:
        assert queue.take()
        waited += 1
    assert waited <= n_others + 1
    finish(queue, Chunk([event]))
    waited = 0
    while not small.next_user:
        assert queue.take()
        waited += 1
    assert waited <= n_others + 1


class Workers:
    """Some workers of one queue; whoever waits for its turn is to see no other request have two."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self.queue = FairQueue(n_workers)
        self.jobs: list[Job] = []
        self.events: list[PendingEvent] = []
        self.encoded: set[PendingEvent] = set()
        self.running: list[Unit] = []
        self.units: list[Unit] = []
        self.served: dict[Job, list[Job]] = {}

    def arrive(self, lengths: list[int], shared: list[int], n_users: int) -> None:
        """A request with new events of ``lengths`` and some that came before."""
        known = {self.events[i % len(self.events)] for i in shared} if self.events else set()
        new = fresh(lengths)
        self.events += new
        self.jobs.append(job_of([*new, *(known - self.encoded)], n_users))
        enter(self.queue, self.jobs[-1])

    def work(self) -> None:
        """One worker begins something, or the first ends what it does."""
        self.served = {job: self.served.get(job, []) for job in self.jobs if job.queued and job.has_work}
        if len(self.running) < self.n_workers and self.queue:
            self._begin()
        elif self.running:
            unit = self.running.pop(0)
            self.encoded.update(unit.events if isinstance(unit, Chunk) else [])
            finish(self.queue, unit)

    def _begin(self) -> None:
        turn = next(job for job in self.queue._turns if job.has_work)
        left = sum(len(event.tokens) + 1 for event in self.events if not event.taken)
        unit = self.queue.take()
        if isinstance(unit, Chunk):
            assert len({len(event.tokens) for event in unit.events}) == 1
            most = min(CHUNK_TOKENS, max(LEAST_CHUNK_TOKENS, left // (2 * self.n_workers)))
            assert slots(unit) <= most or len(unit.events) == 1
            assert turn in {job for event in unit.events for job, _ in event.places}
        else:
            assert unit is not None
            assert unit.job is turn
            assert unit.job.missing == 0
        self.units.append(unit)
        self.running.append(unit)
        for waiting, served in self.served.items():
            if waiting is not turn:
                assert turn not in served
                served.append(turn)
        self.served.pop(turn)


lengths = st.lists(st.one_of(st.integers(0, 6), st.sampled_from([60, 300, 600])), max_size=60)
request = st.tuples(lengths, st.lists(st.integers(0, 500), max_size=20), st.integers(1, 4))


@given(st.lists(st.one_of(st.none(), st.none(), request), max_size=40), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_everything_is_done_once_and_in_turn(
    steps: list[tuple[list[int], list[int], int] | None], n_workers: int
) -> None:
    """Requests that come at any time and share events, and several workers."""
    workers = Workers(n_workers)
    for step in steps:
        if step is None:
            workers.work()
        else:
            workers.arrive(*step)
    while workers.running or workers.queue:
        workers.work()
    taken = [event for unit in workers.units if isinstance(unit, Chunk) for event in unit.events]
    assert len(taken) == len(workers.events)
    assert set(taken) == set(workers.events)
    histories = [(unit.job, unit.user) for unit in workers.units if isinstance(unit, History)]
    expected = {(job, user) for job in workers.jobs for user in range(job.batch.n_users)}
    assert len(histories) == len(expected)
    assert set(histories) == expected
    assert workers.queue._waiting_tokens == 0
    assert not any(workers.queue._waiting.values())


def test_events_of_one_length_and_the_texts_they_point_to() -> None:
    rng = np.random.default_rng(0)
    texts = [rng.standard_normal((n, DIM)).astype(np.float32) for n in (3, 0, 2)]
    columns = [[2, -1, 0], [-1, -1, -1], [1, 1, -1], [0, -1, 1]]
    events = [event_of(3, texts[i]) for i in (0, 1, 0, 2)]
    for i, (event, column) in enumerate(zip(events, columns, strict=True)):
        event.tokens[:] = rng.integers(0, 9, (3, 4))
        event.tokens[:, Token.TEXT] = column
        event.tokens[:, Token.KEY] = i
    before = [event.tokens.copy() for event in events]
    tokens, projected = lay_out(events)
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens[..., : Token.TEXT], np.stack(before)[..., : Token.TEXT])
    for event, laid, column in zip(events, tokens, columns, strict=True):
        for number, old in zip(laid[:, Token.TEXT], column, strict=True):
            expected = event.projected_texts[old] if old >= 0 else np.zeros(DIM)
            np.testing.assert_array_equal(projected[number], expected)
    np.testing.assert_array_equal([event.tokens for event in events], before)


def test_events_without_tokens() -> None:
    tokens, projected = lay_out(fresh([0, 0]))
    assert tokens.shape == (2, 0, 4)
    np.testing.assert_array_equal(projected, np.zeros((1, DIM)))
