"""Long works take turns, and short ones go first."""

import threading
import time

import pytest

from pragmatiq_triton.errors import GivenUpError
from pragmatiq_triton.serving.terms import WAITED_FOR, Terms
from pragmatiq_triton.serving.turns import MOST_AT_ONCE, TURN_SECONDS, Turns, while_waited_for


@pytest.fixture
def turns(long):
    made = Turns()
    yield made
    long.may_end.set()
    made.close()


@pytest.fixture
def long():
    return Long()


class Long:
    """Works that go on until they are let go; notes whose pieces ran, and that no two ran at once."""

    def __init__(self):
        self.pieces = []
        self.done = []
        self.may_end = threading.Event()
        self._alone = threading.Lock()

    def work(self, name, n_pieces=None):
        while n_pieces is None or n_pieces > 0:
            assert self._alone.acquire(blocking=False), "two at once"
            self.pieces.append(name)
            time.sleep(0 if n_pieces == 1 else TURN_SECONDS)
            self._alone.release()
            if n_pieces is None and self.may_end.is_set():
                break
            n_pieces = n_pieces and n_pieces - 1
            yield
        self.done.append(name)


def test_a_short_work_is_done_when_run_returns(turns):
    done = []

    def work():
        yield
        done.append(threading.current_thread())

    turns.run(work())
    assert done == [threading.current_thread()]


def test_short_works_are_answered_beside_long_ones(turns, long):
    for name in ("first", "second"):
        turns.run(long.work(name))
    for i in range(20):
        before = len(long.pieces)
        turns.run(long.work(f"short {i}", n_pieces=1))
        # On a busy machine its turn may be over before its piece is done; it has the next one then.
        give_up = time.monotonic() + 60
        while len(long.done) <= i and time.monotonic() < give_up:
            time.sleep(0.001)
        assert long.done == [f"short {n}" for n in range(i + 1)]
        # Beside its own piece, the one that was under way and one that had begun before it came; twice that if it had
        # two turns.
        assert len(long.pieces) - before <= 6
    long.may_end.set()
    turns.close()
    assert sorted(long.done[20:]) == ["first", "second"]


def test_long_works_take_turns_in_order_and_those_over_the_bound_wait(turns, long):
    names = [str(i) for i in range(MOST_AT_ONCE + 2)]
    for name in names:
        turns.later(long.work(name, n_pieces=3))
    turns.close()
    assert long.pieces[:MOST_AT_ONCE] == names[:MOST_AT_ONCE]
    assert long.pieces[MOST_AT_ONCE : 2 * MOST_AT_ONCE] == names[:MOST_AT_ONCE]
    assert sorted(long.done) == sorted(names)
    begun = [long.pieces.index(name) for name in names]
    ended = [len(long.pieces) - 1 - long.pieces[::-1].index(name) for name in names]
    for place in range(len(long.pieces)):
        assert sum(a <= place < b for a, b in zip(begun, ended, strict=True)) <= MOST_AT_ONCE


def test_a_work_that_fails_harms_no_other(turns, long):
    done = []

    def bad():
        yield
        raise RuntimeError("a bug")

    def good():
        yield
        done.append(1)

    turns.later(bad())
    turns.run(bad())
    turns.later(long.work("long", n_pieces=2))
    turns.run(good())
    turns.close()
    assert (done, long.done) == ([1], ["long"])


def test_what_nobody_waits_for_is_not_worked_on_any_further():
    done = []

    def steps():
        for piece in range(5):
            done.append(piece)
            yield
        return "an answer"

    assert run_to_the_end(while_waited_for(steps(), WAITED_FOR)) == "an answer"
    done.clear()
    over = Terms(deadline=0.0)
    with pytest.raises(GivenUpError, match="deadline"):
        run_to_the_end(while_waited_for(steps(), over))
    assert done == [0]


def run_to_the_end(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
