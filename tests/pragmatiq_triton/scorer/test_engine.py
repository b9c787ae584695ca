"""The engine against :meth:`Scorer.embed`, whatever is cached and whoever else asks."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pytest

from pragmatiq_triton.batch import Batch, Event, Float32, Int32, Token, UserFeatures, collate, cu_seqlens
from pragmatiq_triton.cache.vectors import ENTRY_BYTES, VectorCache, as_bytes, as_numbers
from pragmatiq_triton.errors import DataError, GivenUpError, NotFiniteError
from pragmatiq_triton.scorer import Embeddings, Scorer, engine, fair_queue
from pragmatiq_triton.scorer.engine import ScoringEngine

from .conftest import N_TEXTS, VOCAB_SIZE, Exported

pytestmark = pytest.mark.timeout(120)

ROOMY = 10_000
MakeUser = Callable[..., UserFeatures]
MakeEngine = Callable[..., ScoringEngine]


def keyed(batch: Batch) -> Batch:
    """``batch`` with the fingerprints of what each event's tokens and texts are."""
    digests = []
    for start, stop in pairwise(cu_seqlens(batch.token_counts)):
        tokens = batch.tokens[start:stop]
        numbers = tokens[:, Token.TEXT]
        parts = tokens[:, : Token.TEXT], numbers >= 0, batch.text_vectors[numbers[numbers >= 0]]
        digests.append(blake2b(b"".join(part.tobytes() for part in parts), digest_size=16).digest())
    return replace(batch, event_keys=as_numbers(b"".join(digests)))


def distinct(batches: list[Batch]) -> int:
    return len({name for batch in batches for name in as_bytes(batch.event_keys)})


def submit(to: ScoringEngine, batch: Batch) -> "Future[Embeddings]":
    future: Future[Embeddings] = Future()

    def done(found: Embeddings | Exception) -> None:
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)

    to.submit(batch, done)
    return future


def ask(of: ScoringEngine, batch: Batch) -> Embeddings:
    return submit(of, batch).result(timeout=60)


def check_idle(tested: ScoringEngine) -> None:
    """Nothing is left of any request."""
    tested.close()
    assert not tested._pending
    assert tested._held_bytes == 0
    assert not tested._queue
    assert tested._queue._waiting_tokens == 0


@pytest.fixture(scope="module")
def scorers(exported: Exported) -> dict[int, Scorer]:
    return {threads: Scorer(exported.folder, threads=threads) for threads in (1, 2)}


@pytest.fixture
def make_engine(scorers: dict[int, Scorer]) -> Iterator[MakeEngine]:
    """Engines with room for so many event vectors, which leave nothing behind."""
    made: list[ScoringEngine] = []

    def make(n_entries: int = ROOMY, threads: int = 2) -> ScoringEngine:
        cache = VectorCache(scorers[threads].dim, n_entries * (4 * scorers[threads].dim + ENTRY_BYTES))
        made.append(ScoringEngine(scorers[threads], cache))
        return made[-1]

    yield make
    for each in made:
        check_idle(each)


@pytest.fixture
def expected(scorers: dict[int, Scorer]) -> Callable[[Batch], Embeddings]:
    return scorers[1].embed


@pytest.fixture
def batch_of(exported: Exported) -> Callable[..., Batch]:
    """A request of some users; a string has one vector, whoever has it."""
    table = np.random.default_rng(11).standard_normal((N_TEXTS, exported.text_dim)).astype(np.float32)

    def make(*users: UserFeatures) -> Batch:
        vectors = [table[["abcde".index(text) for text in user.texts]] for user in users]
        return keyed(collate(users, vectors, exported.text_dim))

    return make


@pytest.fixture
def requests(make_user: MakeUser, batch_of: Callable[..., Batch]) -> list[Batch]:
    """Forty requests for stretches of five histories, at other times and with their strings in another order."""
    rng = np.random.default_rng(2)
    customers = [make_user(rng.integers(1, 7, n).tolist(), n % 4) for n in (3, 12, 25, 30, 45)]

    def stretch() -> UserFeatures:
        user = customers[rng.integers(len(customers))]
        first, stop = np.sort(rng.integers(0, len(user.events) + 1, 2))
        bounds = cu_seqlens(user.events[:, Event.TOKENS].astype(np.int64))
        tokens, events = user.tokens[bounds[first] : bounds[stop]].copy(), user.events[first:stop].copy()
        events[:, Event.LOG_SECONDS] *= rng.random()
        order = rng.permutation(len(user.texts))
        has_text = tokens[:, Token.TEXT] >= 0
        tokens[has_text, Token.TEXT] = np.argsort(order)[tokens[has_text, Token.TEXT]]
        return replace(user, tokens=tokens, events=events, texts=tuple(user.texts[i] for i in order))

    return [batch_of(*(stretch() for _ in range(rng.integers(1, 4)))) for _ in range(40)]


class Gate:
    """Stands before a scorer's event encoder: counts rows and, while shut, lets nobody pass."""

    def __init__(self, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_rows = 0
        self.open = threading.Event()
        self._encode = scorer.encode_events
        self._lock = threading.Lock()
        monkeypatch.setattr(scorer, "encode_events", self)

    def __call__(self, tokens: Int32, projected_texts: Float32 | None) -> Float32:
        with self._lock:
            self.n_rows += len(tokens)
        assert self.open.wait(60)
        return self._encode(tokens, projected_texts)


@pytest.fixture
def make_gate(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ScoringEngine], Gate]]:
    """Gates that are opened before the engines are closed, also where a test fails."""
    gates: list[Gate] = []

    def make(before: ScoringEngine) -> Gate:
        gates.append(Gate(before._scorer, monkeypatch))
        return gates[-1]

    yield make
    for gate in gates:
        gate.open.set()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n_entries", [0, 1, 9, ROOMY])
def test_answers_are_the_scorers(
    n_entries: int,
    threads: int,
    requests: list[Batch],
    make_engine: MakeEngine,
    expected: Callable[[Batch], Embeddings],
) -> None:
    tested = make_engine(n_entries, threads)
    for _ in ("cold", "warm"):
        answers = [submit(tested, batch) for batch in requests]
        for batch, answer in zip(requests, answers, strict=True):
            np.testing.assert_allclose(answer.result(60), expected(batch), rtol=0, atol=1e-6)
    assert len(tested.cache) == min(tested.cache.capacity, distinct(requests))


def test_an_answer_from_a_full_cache(
    requests: list[Batch], make_engine: MakeEngine, expected: Callable[[Batch], Embeddings]
) -> None:
    tested = make_engine(distinct(requests))
    for batch in requests:
        ask(tested, batch)
    tested.cache.hits = tested.cache.misses = 0
    for batch in requests:
        np.testing.assert_allclose(ask(tested, batch), expected(batch), rtol=0, atol=1e-6)
    assert (tested.cache.misses, tested.cache.evictions) == (0, 0)


@pytest.mark.parametrize("threads", [1, 2])
def test_unusual_users(
    threads: int,
    users: list[UserFeatures],
    batch_of: Callable[..., Batch],
    make_engine: MakeEngine,
    expected: Callable[[Batch], Embeddings],
) -> None:
    """Without events, profile or both, with events without tokens; together and alone."""
    tested = make_engine(threads=threads)
    for batch in [batch_of(*users), *(batch_of(user) for user in users)]:
        np.testing.assert_allclose(ask(tested, batch), expected(batch), rtol=0, atol=1e-6)


def test_events_that_all_lack_tokens(
    make_user: MakeUser,
    batch_of: Callable[..., Batch],
    make_engine: MakeEngine,
    expected: Callable[[Batch], Embeddings],
) -> None:
    batch = batch_of(make_user([0, 0], 2))
    np.testing.assert_allclose(ask(make_engine(), batch), expected(batch), rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_texts", [0, N_TEXTS])
def test_events_without_texts(
    n_texts: int,
    make_user: MakeUser,
    batch_of: Callable[..., Batch],
    make_engine: MakeEngine,
    expected: Callable[[Batch], Embeddings],
) -> None:
    user = make_user([3, 3, 5], 2)
    user.tokens[:, Token.TEXT] = -1
    batch = batch_of(replace(user, texts=user.texts[:n_texts]))
    np.testing.assert_allclose(ask(make_engine(), batch), expected(batch), rtol=0, atol=1e-6)


def test_a_request_without_users(batch_of: Callable[..., Batch], make_engine: MakeEngine) -> None:
    assert ask(make_engine(), batch_of()).user_embedding.shape == (0, 32)


@pytest.mark.parametrize("n_entries", [0, ROOMY])
def test_an_event_that_several_requests_have_is_encoded_once(
    n_entries: int,
    requests: list[Batch],
    make_engine: MakeEngine,
    make_gate: Callable[[ScoringEngine], Gate],
    expected: Callable[[Batch], Embeddings],
) -> None:
    tested = make_engine(n_entries)
    gate = make_gate(tested)
    answers = [submit(tested, batch) for batch in requests]
    gate.open.set()
    for batch, answer in zip(requests, answers, strict=True):
        found = answer.result(60)
        np.testing.assert_allclose(found, expected(batch), rtol=0, atol=1e-6)
    assert gate.n_rows == distinct(requests)
    if n_entries:
        for batch in requests:
            ask(tested, batch)
        assert gate.n_rows == distinct(requests)


def test_many_callers_while_the_cache_evicts(
    requests: list[Batch], make_engine: MakeEngine, expected: Callable[[Batch], Embeddings]
) -> None:
    tested = make_engine(30)
    wanted = [expected(batch) for batch in requests]

    def call(seed: int) -> None:
        for i in np.random.default_rng(seed).permutation(len(requests))[:12]:
            np.testing.assert_allclose(ask(tested, requests[i]), wanted[i], rtol=0, atol=1e-6)

    with ThreadPoolExecutor(32) as callers:
        for _ in callers.map(call, range(32)):
            pass
    assert tested.cache.evictions > 0
    assert tested.timings.jobs == 32 * 12


def _note(answered: list[str], name: str, _: Embeddings | Exception) -> None:
    answered.append(name)


@pytest.mark.parametrize("shared", [False, True])
def test_a_small_request_overtakes_a_large_one(
    shared: bool,
    make_user: MakeUser,
    batch_of: Callable[..., Batch],
    make_engine: MakeEngine,
    make_gate: Callable[[ScoringEngine], Gate],
) -> None:
    tested = make_engine(threads=1)
    gate = make_gate(tested)
    answered: list[str] = []
    large = make_user([2] + [4] * 1500, 1)
    small = replace(large, tokens=large.tokens[:2], events=large.events[:1]) if shared else make_user([2], 1)
    for name, batch in (("large", batch_of(large)), ("small", batch_of(small))):
        tested.submit(batch, partial(_note, answered, name))
    gate.open.set()
    tested.close()
    assert answered == ["small", "large"]


def test_a_failing_event_encoder(
    make_user: MakeUser,
    batch_of: Callable[..., Batch],
    make_engine: MakeEngine,
    make_gate: Callable[[ScoringEngine], Gate],
    monkeypatch: pytest.MonkeyPatch,
    expected: Callable[[Batch], Embeddings],
) -> None:
    """Whoever waits for an event that cannot be encoded is told why; everybody else is answered."""
    tested = make_engine()
    fragile = make_user([2, 9, 3], 1)
    bad = [batch_of(fragile), batch_of(make_user([5], 1), fragile), batch_of(fragile, make_user([], 0))]
    good = [batch_of(make_user([2, 3, 8], 1)), batch_of(make_user([], 2)), batch_of(make_user([8, 10], 1))]
    wanted = {id(batch): expected(batch) for batch in [*good, *bad]}
    gate = make_gate(tested)
    encode = gate._encode

    def fails(tokens: Int32, projected_texts: Float32 | None) -> Float32:
        if tokens.shape[1] == 9:
            raise RuntimeError("nine tokens")
        return encode(tokens, projected_texts)

    monkeypatch.setattr(gate, "_encode", fails)
    answers = [(batch, submit(tested, batch)) for pair in zip(good, bad, strict=True) for batch in pair]
    gate.open.set()
    for batch, answer in answers:
        if any(batch is each for each in bad):
            with pytest.raises(RuntimeError, match="nine tokens"):
                answer.result(60)
        else:
            np.testing.assert_allclose(answer.result(60), wanted[id(batch)], rtol=0, atol=1e-6)
    monkeypatch.setattr(gate, "_encode", encode)
    for batch in [*good, *bad]:
        np.testing.assert_allclose(ask(tested, batch), wanted[id(batch)], rtol=0, atol=1e-6)


def test_a_failing_history_encoder(
    make_user: MakeUser,
    batch_of: Callable[..., Batch],
    make_engine: MakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    expected: Callable[[Batch], Embeddings],
) -> None:
    tested = make_engine()
    encode = tested._scorer.encode_history

    def fails(profile: Float32, vectors: Float32, events: Float32, wide: bool) -> tuple[Float32, Float32]:
        if len(events) == 7:
            raise RuntimeError("seven events")
        return encode(profile, vectors, events, wide)

    seven, two = make_user([1] * 7, 1), make_user([1, 2], 1)
    good, bad = batch_of(two, two, two), batch_of(two, seven, two)
    wanted = expected(good), expected(bad)
    with monkeypatch.context() as patch:
        patch.setattr(tested._scorer, "encode_history", fails)
        answers = [submit(tested, batch) for batch in (bad, good, bad)]
        for answer in answers[::2]:
            with pytest.raises(RuntimeError, match="seven events"):
                answer.result(60)
        np.testing.assert_allclose(answers[1].result(60), wanted[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(ask(tested, bad), wanted[1], rtol=0, atol=1e-6)


def _no_keys(batch: Batch) -> Batch:
    return replace(batch, event_keys=batch.event_keys[1:])


def _foreign_token(batch: Batch) -> Batch:
    tokens = batch.tokens.copy()
    tokens[-1, Token.VALUE] = VOCAB_SIZE
    return replace(batch, tokens=tokens)


def _foreign_text(batch: Batch) -> Batch:
    tokens = batch.tokens.copy()
    tokens[-1, Token.TEXT] = len(batch.text_vectors)
    return replace(batch, tokens=tokens)


def _too_few_tokens(batch: Batch) -> Batch:
    return replace(batch, tokens=batch.tokens[:-1])


def _foreign_profile(batch: Batch) -> Batch:
    return replace(batch, profile=batch.profile - VOCAB_SIZE)


def _other_texts(batch: Batch) -> Batch:
    return replace(batch, text_vectors=np.zeros((1, 5), np.float32))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (_no_keys, "event_keys: expected one for each of 3"),
        (_foreign_token, "value id 60"),
        (_foreign_text, "text index"),
        (_too_few_tokens, "tokens: 7 rows"),
        (_foreign_profile, "profile.*key id"),
        (_other_texts, "text_vectors: 1 vectors of 5"),
    ],
)
def test_a_bad_request_is_refused_at_once(
    spoil: Callable[[Batch], Batch],
    match: str,
    make_user: MakeUser,
    batch_of: Callable[..., Batch],
    make_engine: MakeEngine,
    expected: Callable[[Batch], Embeddings],
) -> None:
    tested, batch = make_engine(), batch_of(make_user([3, 1, 4], 2))
    answers: list[object] = []
    with pytest.raises(DataError, match=match):
        tested.submit(spoil(batch), answers.append)
    assert not tested._pending
    assert tested._held_bytes == 0
    np.testing.assert_allclose(ask(tested, batch), expected(batch), rtol=0, atol=1e-6)
    tested.close()
    assert answers == []


def test_too_much_under_way_makes_a_caller_wait(
    requests: list[Batch],
    make_engine: MakeEngine,
    make_gate: Callable[[ScoringEngine], Gate],
    monkeypatch: pytest.MonkeyPatch,
    expected: Callable[[Batch], Embeddings],
) -> None:
    monkeypatch.setattr(engine, "MAX_HELD_BYTES", 1)
    with_events = [batch for batch in requests if len(batch.events)]
    tested = make_engine()
    gate = make_gate(tested)
    waiting, wait = threading.Semaphore(0), tested._room.wait

    def counted_wait() -> bool:
        waiting.release()
        return wait()

    monkeypatch.setattr(tested._room, "wait", counted_wait)
    first = submit(tested, with_events[0])
    with ThreadPoolExecutor(8) as callers:
        others = [callers.submit(ask, tested, batch) for batch in with_events[1:]]
        assert all(waiting.acquire(timeout=10) for _ in range(8))
        assert len(tested._pending) == distinct(with_events[:1])
        gate.open.set()
        for batch, answer in zip(with_events, [first, *others], strict=True):
            np.testing.assert_allclose(answer.result(60), expected(batch), rtol=0, atol=1e-6)


def test_closing_answers_what_was_submitted(
    requests: list[Batch], make_engine: MakeEngine, make_gate: Callable[[ScoringEngine], Gate]
) -> None:
    tested = make_engine()
    gate = make_gate(tested)
    answers = [submit(tested, batch) for batch in requests]
    closing = threading.Thread(target=tested.close)
    closing.start()
    gate.open.set()
    closing.join(60)
    assert all(answer.done() for answer in answers)
    with pytest.raises(RuntimeError, match="closed"):
        submit(tested, requests[0])


def test_an_answer_that_cannot_be_given(
    requests: list[Batch],
    make_engine: MakeEngine,
    expected: Callable[[Batch], Embeddings],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def done(_: object) -> None:
        raise ConnectionError("the caller has gone")

    tested = make_engine(threads=1)
    for batch in requests:
        tested.submit(batch, done)
        np.testing.assert_allclose(ask(tested, batch), expected(batch), rtol=0, atol=1e-6)
    assert len(caplog.records) == len(requests)
    assert "the caller has gone" in caplog.text


def test_the_stages_of_a_request_add_up(
    make_user: MakeUser, batch_of: Callable[..., Batch], make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that ticks once per look: from the first, in ``submit``, to the last, when the answer is there."""
    ticks: list[float] = []
    count = itertools.count(100.0)

    def clock() -> float:
        ticks.append(next(count))
        return ticks[-1]

    monkeypatch.setattr(engine, "perf_counter", clock)
    monkeypatch.setattr(fair_queue, "perf_counter", clock)
    tested, batch = make_engine(threads=1), batch_of(make_user([3, 4, 5], 1), make_user([3], 1))
    seconds = tested.timings.stage_seconds
    assert set(seconds) == {"lookup", "queue", "events", "history"}
    ask(tested, batch)
    assert sum(seconds.values()) == ticks[-1] - ticks[0]
    assert min(seconds.values()) > 0
    events_before, n_cold = seconds["events"], len(ticks)
    ask(tested, batch)
    assert sum(seconds.values()) == (ticks[n_cold - 1] - ticks[0]) + (ticks[-1] - ticks[n_cold])
    assert seconds["events"] == events_before
    assert tested.timings.jobs == 2
    assert tested.timings.graph_runs == {"events": 3, "histories": 4}


def test_an_event_vector_that_is_not_finite_fails_its_own_request_and_is_not_kept(
    exported: Exported, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(exported.folder)
    good, bad = (keyed(exported.batch([make_user([3, 3], 2)])) for _ in range(2))
    poisoned, encode = bad.tokens[:3], scorer.encode_events

    def encode_events(tokens: Int32, texts: Float32 | None) -> Float32:
        vectors = encode(tokens, texts).copy()
        vectors[(tokens[..., : Token.TEXT] == poisoned[:, : Token.TEXT]).all(axis=(1, 2))] = np.nan
        return vectors

    monkeypatch.setattr(scorer, "encode_events", encode_events)
    cache = VectorCache(scorer.dim, ROOMY * (4 * scorer.dim + ENTRY_BYTES))
    tested = ScoringEngine(scorer, cache)
    try:
        answers = [submit(tested, batch) for batch in (good, bad, good)]
        np.testing.assert_allclose(answers[0].result(60).user_embedding, exported.expected(good)[0], atol=1e-5)
        with pytest.raises(NotFiniteError, match="an event's vector is not finite"):
            answers[1].result(60)
        assert np.isfinite(answers[2].result(60).user_embedding).all()
        assert len(cache) == 3
        assert cache.take(bad.event_keys, np.empty((2, scorer.dim), np.float32)).tolist() == [0]
    finally:
        tested.close()


def test_what_nobody_waits_for_is_not_encoded_and_what_others_wait_for_is(
    make_user: MakeUser,
    batch_of: Callable[..., Batch],
    make_engine: MakeEngine,
    make_gate: Callable[[ScoringEngine], Gate],
    expected: Callable[[Batch], Embeddings],
) -> None:
    tested = make_engine(threads=1)
    first, alone, shared = (batch_of(make_user([3, 5, 4, 2, 6] * n_events, 2)) for n_events in (1, 8, 5))
    gate = make_gate(tested)
    before = submit(tested, first)
    given_up = [GivenUpError("the caller has given up")]
    dropped: list[Embeddings | Exception] = []
    for batch in (alone, shared):
        tested.submit(batch, dropped.append, ended=lambda: given_up[0])
    waits = submit(tested, shared)
    gate.open.set()
    np.testing.assert_allclose(waits.result(60), expected(shared), rtol=0, atol=1e-6)
    np.testing.assert_allclose(before.result(60), expected(first), rtol=0, atol=1e-6)
    assert dropped == given_up * 2
    kept = set(as_bytes(alone.event_keys)) - set(as_bytes(np.concatenate([first.event_keys, shared.event_keys])))
    vectors = np.empty((len(kept), tested._scorer.dim), np.float32)
    assert len(kept) == len(tested.cache.take(as_numbers(b"".join(kept)), vectors)), "events of nobody were encoded"
