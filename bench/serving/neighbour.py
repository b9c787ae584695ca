"""How long a small request waits beside a caller who brings as much text as the limits allow."""

import multiprocessing
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from bench.serving.analyzer import Target
from bench.serving.records import Crowd, to_json
from bench.serving.servers import Contestant, Endpoint, Fleet
from pragmatiq_triton.records import Event, Record, decode_record

SMALL_EVENTS = 16
ALONE = 200
STRINGS = 1_000
CHARACTERS = 16_000
_ready: Callable[[], object] = lambda: None  # noqa: E731
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 "


@dataclass(frozen=True)
class Waits:
    """Of one server: milliseconds of small requests alone (p50) and the worst beside the heavy caller.

    ``seconds``: what the heavy caller's one request took; ``beside``: how many small ones were answered meanwhile.
    """

    who: Contestant
    alone_p50: float
    beside_p50: float
    beside_worst: float
    beside: int
    seconds: float

    @property
    def ratio(self) -> float:
        """The worst wait over the usual one."""
        return self.beside_worst / self.alone_p50


def neighbour(fleet: Fleet, variants: list[str], crowd: Crowd, rounds: int, tell: Callable[[str], None]) -> list[Waits]:
    """Each variant's waits, a round each: the heavy request is new in every round."""
    found = []
    for number in range(rounds):
        for variant in variants:
            who = Contestant("ours", variant)
            tell(f"round {number + 1}: small requests of {who} beside {STRINGS:,} strings of {CHARACTERS:,} characters")
            found.append(_measure(fleet, who, crowd, number))
    return found


def _measure(fleet: Fleet, who: Contestant, crowd: Crowd, number: int) -> Waits:
    small = crowd.cold(1, SMALL_EVENTS)[0]
    alone = [_timed(fleet, who, small) for _ in range(ALONE)]
    # A process of its own: in this one its 16 MB would hold up the small requests before they are sent.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        other.submit(_prepare, fleet[who].target, number, to_json(small)).result()
        under_way = other.submit(_send)
        beside = []
        while not under_way.done():
            beside.append(_timed(fleet, who, small))
        return Waits(who, median(alone), median(beside), max(beside), len(beside), under_way.result())


def _timed(fleet: Fleet, who: Contestant, record: Record) -> float:
    return 1000 * _seconds(lambda: fleet[who].embed(record))


def _seconds(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def _prepare(target: Target, number: int, like: str) -> None:
    """In the heavy caller's process: make its request."""
    global _ready
    endpoint = Endpoint(target, "embedding", (), as_list=False)
    _ready = endpoint.prepared(_heavy(number, decode_record(like.encode())))


def _send() -> float:
    """In the heavy caller's process: send it; seconds."""
    return _seconds(_ready)


def _heavy(number: int, like: Record) -> Record:
    """Strings within all limits, each different, in events of the times that ``like`` has."""
    rng = random.Random(number)
    event = like.events[-1]
    texts = ("".join(rng.choices(_ALPHABET, k=CHARACTERS)) for _ in range(STRINGS))
    return Record([Event(event.ts, event.source, {"merchant": text}) for text in texts], f"heavy_{number}")
