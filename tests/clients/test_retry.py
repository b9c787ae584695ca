from itertools import islice

import pytest

from pragmatiq_client import DeadlineExceededError
from pragmatiq_client.retry import LONGEST_PAUSE, Deadline, fitted, pauses


def test_deadline_counts_down() -> None:
    now = [100.0]
    deadline = Deadline(2.0, clock=lambda: now[0])
    assert deadline.remaining() == 2.0
    now[0] = 101.5
    assert deadline.remaining() == 0.5
    assert deadline.left() == 0.5
    now[0] = 102.0
    with pytest.raises(DeadlineExceededError, match="within 2 s"):
        deadline.remaining()


def test_pauses_grow_to_a_ceiling() -> None:
    longest = list(pauses(12, uniform=max))
    shortest = list(pauses(12, uniform=min))
    assert len(longest) == 12
    assert longest == sorted(longest)
    assert longest[1] == 2 * longest[0]
    assert longest[-1] == LONGEST_PAUSE
    assert all(low == high / 2 for low, high in zip(shortest, longest, strict=True))
    assert list(pauses(0)) == []


def test_pauses_without_a_count_never_end_and_fit_the_budget() -> None:
    assert len(list(islice(pauses(None), 5000))) == 5000
    assert fitted(0.5, left=2.0) == (0.5, False)
    assert fitted(0.5, left=0.4) == (0.2, True)
