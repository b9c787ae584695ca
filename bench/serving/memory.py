"""What a bounded server keeps in memory as it meets more and more customers, and what a smaller cache costs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.serving.analyzer import Load, analyze
from bench.serving.fetch import Program
from bench.serving.processes import Memory, memory, stubs
from bench.serving.records import Book, Crowd
from bench.serving.repositories import bounded
from bench.serving.servers import endpoint, serve

CACHES = ("event_cache_bytes", "record_cache_bytes", "text_cache_bytes")
"""Parameters of the models' configs that bound what they remember."""
BOUND = 8 * 2**20
SAMPLES = 20
CALLERS = 8
HISTORY = 16
CACHE_SIZES = tuple(2**power * 2**20 for power in (0, 2, 3, 4, 6))
CACHE_CUSTOMERS, CACHE_HISTORY = 60, 256


@dataclass(frozen=True)
class Growth:
    """Memory of each Python model after so many customers; ``bounds``: the cache parameters that were set."""

    bounds: dict[str, int]
    customers: list[int] = field(default_factory=list)
    models: dict[str, list[Memory]] = field(default_factory=dict)


@dataclass(frozen=True)
class CachePoint:
    """Latencies in ms of known customers' calls, at one size of the event cache."""

    cache_bytes: int
    p50: float
    p99: float


def growth(repository: Path, crowd: Crowd, work: Path, n_customers: int, tell: Callable[[str], None]) -> Growth:
    """Send short histories of ``n_customers`` different customers and watch the models' processes."""
    copy = work / "repositories" / "bounded"
    found = Growth(bounded(repository, copy, dict.fromkeys(CACHES, BOUND)))
    step = max(n_customers // SAMPLES, 1)
    with serve(copy) as server, ThreadPoolExecutor(CALLERS) as threads:
        at = endpoint(server)
        for sent in range(0, n_customers + 1, step):
            if sent:
                list(threads.map(at.embed, crowd.cold(step, HISTORY)))
            found.customers.append(sent)
            for model, pid in stubs(server.pid).items():
                found.models.setdefault(model, []).append(memory(pid))
            tell(f"memory: {sent:,} of {n_customers:,} customers")
        at.close()
    return found


def over_cache_size(
    repository: Path, crowd: Crowd, program: Program, work: Path, seconds: float, tell: Callable[[str], None]
) -> list[CachePoint]:
    """Known customers' calls by one caller, by size of the event cache; none where the scorer has no cache."""
    points = []
    for size in CACHE_SIZES:
        copy = work / "repositories" / "bounded"
        if not bounded(repository, copy, {CACHES[0]: size}):
            break
        tell(f"event cache of {size / 2**20:g} MiB")
        book = Book(crowd.customers(CACHE_CUSTOMERS, CACHE_HISTORY), CACHE_HISTORY, seed=size)
        with serve(copy) as server:
            at = endpoint(server)
            for record in book.known():
                at.embed(record)
            load = Load(callers=1)
            n_calls = load.fewest + int(seconds * 20)
            entries = [at.entry(record) for record in book.calls(n_calls)]
            profile = analyze(program, at.target, load, entries, seconds, work / "analyzer")
            at.close()
        points.append(CachePoint(size, profile.percentile(50), profile.percentile(99)))
    return points
