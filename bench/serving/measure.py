"""Measuring one cell at one server: the right records, warmed up, and what they took."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from bench.serving.analyzer import Load, analyze
from bench.serving.cases import COLD, SHARE_OF, WARM, Cell
from bench.serving.errors import BenchError
from bench.serving.fetch import Program
from bench.serving.records import Book, Crowd, introductions, share_of_new_events
from bench.serving.servers import UPSTREAM, Contestant, Endpoint, Fleet
from pragmatiq_triton.records import Record

BOOK_EVENTS = 51_200
"""Events of all known customers together: what a cache has to hold."""
BOOK_CUSTOMERS = 200
WARM_UP_RECORDS = 3
ANSWERS = 5
LEAST_RATE = 1.0
"""Requests per second; perf_analyzer refuses a lower rate."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Sample:
    """One measurement: latencies in ms, and per request the CPU-seconds of all of the server's processes.

    ``new_events``: of the events that differ inside their history, the share that no earlier history held; COLD only.
    """

    p50: float
    p95: float
    p99: float
    requests_per_second: float
    cpu_seconds: float
    requests: int
    new_events: float | None


@dataclass
class Result:
    """All measurements of a cell at one contestant, a round each."""

    contestant: Contestant
    cell: Cell
    samples: list[Sample] = field(default_factory=list)

    def median(self, name: str) -> float:
        return median(self.values(name))

    def values(self, name: str) -> list[float]:
        return [getattr(sample, name) for sample in self.samples]


class Results(dict[tuple[Contestant, Cell], Result]):
    """By who answered and what was asked."""

    def add(self, contestant: Contestant, cell: Cell, sample: Sample) -> None:
        self.setdefault((contestant, cell), Result(contestant, cell)).samples.append(sample)

    def find(self, contestant: Contestant, mode: str, events: int, callers: int) -> Result | None:
        """The result of one closed loop, None where it was not measured."""
        return next(
            (
                result
                for (who, cell), result in self.items()
                if who == contestant and (cell.mode, cell.events, cell.callers) == (mode, events, callers)
            ),
            None,
        )


@dataclass(frozen=True)
class Effort:
    """About ``seconds`` per measurement, but at most ``requests``."""

    seconds: float
    requests: int
    rounds: int


class Bench:
    """Measures cells; no record is sent twice to a server in a whole benchmark, but to wake it up."""

    def __init__(self, fleet: Fleet, program: Program, crowd: Crowd, effort: Effort, work: Path, seed: int) -> None:
        self._fleet = fleet
        self._program = program
        self._crowd = crowd
        self._effort = effort
        self._work = work
        self._seed = seed
        self._books: dict[int, Book] = {}
        self.results = Results()

    def run(self, cells: list[tuple[Cell, list[Contestant]]], tell: Callable[[str], None]) -> Results:
        """Measure every cell at its contestants, one after the other, round by round."""
        for number in range(self._effort.rounds):
            for cell, contestants in cells:
                tell(f"round {number + 1}: {cell}: {', '.join(map(str, contestants))}")
                self._round(cell, contestants)
        return self.results

    def same_answers(self, ours: Contestant, other: Contestant, lengths: tuple[int, ...]) -> float:
        """The largest difference between the embeddings of two servers.

        Raises :class:`BenchError` where it is over 1e-4: their speeds would not compare.
        """
        records = [record for n_events in lengths for record in self._crowd.cold(ANSWERS, n_events)]
        both = [(self._fleet[ours].embed(record), self._fleet[other].embed(record)) for record in records]
        largest = max(float(np.abs(mine - theirs).max()) for mine, theirs in both)
        if not largest <= TOLERANCE:
            raise BenchError(f"{ours} and {other} answer differently by {largest:.1e} (at most {TOLERANCE:g})")
        return largest

    def _round(self, cell: Cell, contestants: list[Contestant]) -> None:
        """All contestants get the same records, each as many of them as it answers in the given time."""
        if cell.mode == WARM:
            self._make_known(cell.events, contestants)
        latencies = self._wake_up(cell, contestants)
        loads = {who: self._load(who, cell) for who in contestants}
        counts = {who: self._count(load, latencies[who]) for who, load in loads.items()}
        records = self._records(cell, max(counts.values()))
        for who in contestants:
            self._introduce(who, cell, records)
            # One at a time is the slowest way to answer them.
            seconds = max(self._effort.seconds, counts[who] * latencies[who])
            self.results.add(who, cell, self._measure(who, cell, loads[who], records[: counts[who]], seconds))

    def _load(self, who: Contestant, cell: Cell) -> Load:
        if cell.callers:
            return Load(cell.callers)
        reference = self.results.find(who, cell.mode, cell.events, SHARE_OF)
        if reference is None:
            raise BenchError(f"{cell}: {who}: a rate is a share of what {SHARE_OF} callers reach: measure them first")
        return Load(rate=max(LEAST_RATE, cell.share * reference.median("requests_per_second")))

    def _count(self, load: Load, latency: float) -> int:
        wanted = min(int((load.rate or 1 / latency) * self._effort.seconds), self._effort.requests)
        return load.warm_up + max(wanted, load.fewest)

    def _wake_up(self, cell: Cell, contestants: list[Contestant]) -> dict[Contestant, float]:
        """Seconds that one request takes each of them, at best."""
        latencies = dict.fromkeys(contestants, float("inf"))
        for record, who in product(self._records(cell, WARM_UP_RECORDS), contestants):
            started = perf_counter()
            self._fleet[who].embed(record)
            latencies[who] = min(latencies[who], perf_counter() - started)
        return latencies

    def _records(self, cell: Cell, n_records: int) -> list[Record]:
        if cell.mode == COLD:
            return self._crowd.cold(n_records, cell.events)
        if cell.mode == WARM:
            return self._book(cell.events).calls(n_records)
        return [Record([], customer.user_id) for customer in self._crowd.customers(n_records, 1)]

    def _book(self, n_events: int) -> Book:
        if n_events not in self._books:
            customers = self._crowd.customers(min(BOOK_CUSTOMERS, BOOK_EVENTS // n_events), n_events)
            self._books[n_events] = Book(customers, n_events, self._seed)
        return self._books[n_events]

    def _make_known(self, n_events: int, contestants: list[Contestant]) -> None:
        """Let each of ours see what the customers sent last; upstream remembers nothing."""
        records = self._book(n_events).known()
        for record, who in product(records, (who for who in contestants if who.toolkit != UPSTREAM)):
            self._fleet[who].embed(record)

    def _introduce(self, who: Contestant, cell: Cell, records: list[Record]) -> None:
        """Cold histories of strings that are known: what an exported table of strings gives a server in production."""
        if cell.mode == COLD and who.toolkit != UPSTREAM and who.variant == "embed":
            for record in introductions(records):
                self._fleet[who].embed(record)

    def _measure(self, who: Contestant, cell: Cell, load: Load, records: list[Record], seconds: float) -> Sample:
        endpoint: Endpoint = self._fleet[who]
        entries = [endpoint.entry(record) for record in records]
        before = endpoint.cpu_seconds()
        profile = analyze(self._program, endpoint.target, load, entries, seconds, self._work / "analyzer")
        used = endpoint.cpu_seconds() - before
        return Sample(
            p50=profile.percentile(50),
            p95=profile.percentile(95),
            p99=profile.percentile(99),
            requests_per_second=profile.requests_per_second,
            cpu_seconds=used / len(records),
            requests=len(profile.latencies_ms),
            new_events=share_of_new_events(records) if cell.mode == COLD else None,
        )
