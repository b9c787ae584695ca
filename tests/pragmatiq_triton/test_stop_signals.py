"""How signals are counted; a real server is ended by them in tests/pragmatiq_triton/embedded/test_ends.py."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from pragmatiq_triton.stop_signals import STOP_SIGNALS, StopSignals


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_asks_and_the_second_is_at_once(number: signal.Signals) -> None:
    with StopSignals() as signals:
        assert not signals.is_asked()
        os.kill(os.getpid(), number)
        assert (signals.is_asked(), signals.is_at_once(), signals.number) == (True, False, number)
        time.sleep(0.35)
        os.kill(os.getpid(), number)
        assert signals.is_at_once()


def test_two_at_the_same_moment_are_one_wish() -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert (signals.is_asked(), signals.is_at_once()) == (True, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_count_where_they_were_ignored_or_blocked_before(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    with StopSignals() as signals:
        os.kill(os.getpid(), number)
        assert signals.is_asked()
    assert signal.getsignal(number) is signal.SIG_IGN


def test_under_nohup_a_hangup_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not signals.is_asked()
