from collections.abc import Callable

import pytest

from pragmatiq_triton.keeper.line_limit import PER_SOURCE, PER_WINDOW, WINDOW_SECONDS, LineLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def of(source: str) -> Callable[[int], bytes]:
    return lambda n: f'E1122 13:31:27.{n:06} 59 {source}:42] "accept() failed, {n}"\n'.encode()


def test_the_first_lines_of_a_flood_are_kept_and_the_others_are_counted(clock: Clock) -> None:
    limit, line = LineLimit(clock), of("listener.cc")
    written = [each for n in range(1_600_000 // 100) for each in limit(line(n))]
    assert written == [line(n) for n in range(PER_SOURCE)]
    clock.now = WINDOW_SECONDS
    note, after = limit(line(7))
    assert after == line(7)
    assert f"{16_000 - PER_SOURCE:,} lines left out" in note.decode()
    assert "listener.cc" in note.decode()
    assert limit.flush() == []


def test_another_source_is_still_heard_in_a_flood(clock: Clock) -> None:
    limit = LineLimit(clock)
    for n in range(10 * PER_SOURCE):
        limit(of("listener.cc")(n))
    assert limit(of("model.cc")(1)) == [of("model.cc")(1)]


def test_lines_that_differ_in_numbers_alone_are_one_source(clock: Clock) -> None:
    limit = LineLimit(clock)
    assert sum(len(limit(f"[warn] fd {n} of 200\n".encode())) for n in range(1000)) == PER_SOURCE


def test_all_sources_together_have_a_bound_and_their_names_take_no_memory(clock: Clock) -> None:
    limit = LineLimit(clock)
    lines = [f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676 % 26)}\n".encode() for n in range(10_000)]
    assert sum(len(limit(line)) for line in lines) == PER_WINDOW
    assert len(limit._of_source) <= PER_WINDOW


def test_without_a_flood_every_line_passes_as_it_is(clock: Clock) -> None:
    limit = LineLimit(clock)
    for n in range(1000):
        clock.now += 1
        assert limit(b"\xff\xfe %d\n" % n) == [b"\xff\xfe %d\n" % n]
