"""The bar: what serving has to reach, and whether it did, from cells of one run."""

from dataclasses import dataclass, field
from statistics import median

from bench.serving.cases import COLD, EMPTY, WARM
from bench.serving.measure import Result, Results
from bench.serving.servers import BEHIND, OURS, UPSTREAM, Contestant

P50, RATE = "p50", "requests_per_second"
READY_STRINGS = 100_000


@dataclass(frozen=True)
class Row:
    """One line of the bar: a value per round, to be at least ``bar``, or at most where ``at_most``."""

    what: str
    bar: float
    values: list[float] = field(default_factory=list)
    at_most: bool = False
    unit: str = "x"

    @property
    def value(self) -> float | None:
        return median(self.values) if self.values else None

    @property
    def met(self) -> bool | None:
        """None where it was not measured."""
        if self.value is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar


@dataclass(frozen=True)
class _OverUpstream:
    """A row of ours over upstream, with its bar by precision."""

    mode: str
    events: int
    callers: int
    measure: str
    bars: dict[str, float]


_OVER_UPSTREAM = (
    _OverUpstream(WARM, 256, 1, P50, {"fp32": 18}),
    _OverUpstream(WARM, 1085, 1, P50, {"fp32": 30}),
    _OverUpstream(WARM, 256, 8, RATE, {"fp32": 50}),
    _OverUpstream(COLD, 256, 1, P50, {"fp32": 1.7, "int8": 3}),
    _OverUpstream(COLD, 1085, 1, P50, {"fp32": 2.2, "int8": 4}),
    _OverUpstream(COLD, 256, 8, RATE, {"fp32": 3.5, "int8": 6}),
)


def rows(results: Results, variants: list[str], precisions: list[str], ready_seconds: list[float]) -> list[Row]:
    """All lines, those that were not measured without values."""
    lines = [
        _over_upstream(results, spec, variant, precision)
        for variant in variants
        for spec in _OVER_UPSTREAM
        for precision in spec.bars
        if precision in precisions
    ]
    for variant in variants:
        ours = Contestant(OURS, variant)
        crowded = results.find(ours, WARM, 256, 64)
        tail = [p99 / p50 for p99, p50 in zip(_values(crowded, "p99"), _values(crowded, P50), strict=True)]
        empty = _values(results.find(ours, EMPTY, 0, 1), P50)
        lines += [
            *_gateway(results, variant),
            Row(f"{variant}: 64 callers, warm, 256 events, p99 over p50", 3, tail, at_most=True),
            Row(f"{variant}: 0 events, p50", 2.5, empty, at_most=True, unit=" ms"),
        ]
    for events in (256, 1085):
        bpe, embed = (results.find(Contestant(OURS, variant), COLD, events, 1) for variant in ("bpe", "embed"))
        over = [mine / other for mine, other in zip(_values(embed, P50), _values(bpe, P50), strict=False)]
        lines.append(Row(f"embed over BPE, ours, cold, 1 caller, {events} events, p50", 0.8, over, at_most=True))
    ready = Row(f"ready after start, table of {READY_STRINGS:,} strings", 3, ready_seconds, at_most=True, unit=" s")
    return [*lines, ready]


def _gateway(results: Results, variant: str) -> list[Row]:
    """What the gateway costs, beside the same Triton without it."""
    both = [Contestant(toolkit, variant) for toolkit in (OURS, BEHIND)]
    single = [_values(results.find(who, WARM, 256, 1), P50) for who in both]
    crowd = [_values(results.find(who, WARM, 256, 8), RATE) for who in both]
    added = [through - without for through, without in zip(*single, strict=False)]
    kept = [through / without for through, without in zip(*crowd, strict=False)]
    what = f"{variant}: the gateway, warm, 256 events"
    return [
        Row(f"{what}, 1 caller, p50 added", 1, added, at_most=True, unit=" ms"),
        Row(f"{what}, 8 callers, requests/s with over without", 0.95, kept),
    ]


def _over_upstream(results: Results, spec: _OverUpstream, variant: str, precision: str) -> Row:
    ours = results.find(Contestant(OURS, variant, precision), spec.mode, spec.events, spec.callers)
    other = results.find(Contestant(UPSTREAM, variant), spec.mode, spec.events, spec.callers)
    callers = f"{spec.callers} caller{'s' if spec.callers > 1 else ''}"
    measure = "p50" if spec.measure == P50 else "requests/s"
    pairs = zip(_values(ours, spec.measure), _values(other, spec.measure), strict=False)
    ratios = [theirs / mine if spec.measure == P50 else mine / theirs for mine, theirs in pairs]
    what = f"{variant} {precision}: {spec.mode}, {callers}, {spec.events:,} events, {measure}"
    return Row(what, spec.bars[precision], ratios)


def _values(result: Result | None, name: str) -> list[float]:
    return result.values(name) if result else []
