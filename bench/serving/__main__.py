"""How fast records are scored by a real Triton server, alone or beside the upstream toolkit's own serving code.

perf_analyzer sends the records, each of them once: cold ones, of customers never seen before, and warm ones, one newer
event of a known customer each. Both sides run from the same weights on the same ``tritonserver`` and are sent the same
records in turns. Where an answer differs by more than 1e-4 or a request fails, the run ends with the reason.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from bench import toolkits
from bench.report import machine
from bench.serving import sources
from bench.serving.bar import READY_STRINGS, rows
from bench.serving.cases import COLD, Cell, chosen
from bench.serving.errors import BenchError
from bench.serving.fetch import perf_analyzer
from bench.serving.floor import milliseconds_of_nothing
from bench.serving.measure import Bench, Effort, Results
from bench.serving.memory import growth, over_cache_size
from bench.serving.neighbour import neighbour
from bench.serving.options import Options, parse
from bench.serving.peak import matmul_peak, mean_gflop
from bench.serving.plot import draw
from bench.serving.ready import seconds_to_ready
from bench.serving.records import Crowd
from bench.serving.report import Report
from bench.serving.servers import BEHIND, OURS, UPSTREAM, Contestant, Fleet
from bench.serving.sources import Sources
from bench.toolkits import versions
from pragmatiq_builder.runs import load_run
from pragmatiq_triton.errors import PragmatiqError
from pragmatiq_triton.server import find_server_environment
from pragmatiq_triton.tokenizer import Tokenizer

SAME_ANSWERS = (16, 256, 1085)
PEAK_RECORDS = 50

stderr = Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write JSON and a picture where they are asked for."""
    options = parse(arguments, __doc__)
    try:
        report = measure(options)
    except (BenchError, PragmatiqError) as error:
        raise SystemExit(f"error: {error}") from error
    report.print(Console(width=None if sys.stdout.isatty() else 220))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report.to_dict()), indent=2) + b"\n")
    if options.plot:
        draw(report, options.plot)


def measure(options: Options) -> Report:
    """Everything that ``options`` ask for."""
    work = options.work.absolute()
    upstream = (options.upstream_environment or work / "upstream") if options.vs_upstream else None
    program = perf_analyzer(work / "perf_analyzer")
    found = _sources(options, work, upstream)
    about = _about(options)
    crowd = Crowd(found.records, options.seed)
    peak = matmul_peak()
    ready = _ready(options, found, work) if options.preset != "quick" and not options.neighbour else []
    with Fleet(found, work, upstream) as fleet:
        effort = Effort(options.seconds, options.requests, options.rounds)
        if options.neighbour:
            return Report(about, Results(), waits=neighbour(fleet, options.variants, crowd, options.rounds, _tell))
        bench = Bench(fleet, program, crowd, effort, work, options.seed)
        differences = {}
        for variant in options.variants if upstream else ():
            ours, other = Contestant(OURS, variant), Contestant(UPSTREAM, variant)
            differences[f"{ours}, {other}"] = bench.same_answers(ours, other, SAME_ANSWERS)
        results = bench.run(_plan(options), _tell)
        repository = fleet.repository(options.variants[0], options.precisions[0])
    # Twice, as other work on the machine slows it.
    peak = max(peak, matmul_peak())
    report = Report(about, results, differences=differences)
    report.nothing_ms = milliseconds_of_nothing(program, options.seconds, work)
    report.peak = {"fp32 matrix product of this machine": peak, **_speeds(results, found, crowd)}
    if options.preset != "quick":
        report.bar = rows(results, options.variants, options.precisions, ready)
    if options.memory:
        report.growth = growth(repository, crowd, work, options.customers, _tell)
        report.cache_sizes = over_cache_size(repository, crowd, program, work, options.seconds, _tell)
    return report


def _tell(what: str) -> None:
    stderr.print(what, style="dim", highlight=False)


def _sources(options: Options, work: Path, upstream: Path | None) -> Sources:
    if options.given is not None:
        return sources.given(options.given, options.variants)
    toolkit = toolkits.upstream(upstream) if upstream else toolkits.ours()
    if options.preset == "quick":
        return sources.made(work, options.variants, toolkit, size="nano", users=10)
    return sources.made(work, options.variants, toolkit)


def _plan(options: Options) -> list[tuple[Cell, list[Contestant]]]:
    """Cells, each with those that are measured in turns."""
    ours = [Contestant(OURS, variant, precision) for variant in options.variants for precision in options.precisions]
    others = [Contestant(UPSTREAM, variant) for variant in options.variants] if options.vs_upstream else []
    behind = [Contestant(BEHIND, variant) for variant in options.variants if "fp32" in options.precisions]
    cells = chosen(options.preset, options.events, options.callers)
    # The bar asks of int8 only what int8 changes: the encoding of new events.
    fp32 = [who for who in ours if who.precision == "fp32"] or ours
    return [
        (
            cell,
            [
                *(fp32 if options.preset == "bar" and cell.mode != COLD else ours),
                *(behind if cell.behind else []),
                *(others if cell.upstream else []),
            ],
        )
        for cell in cells
    ]


def _ready(options: Options, found: Sources, work: Path) -> list[float]:
    if "embed" not in options.variants:
        return []
    _tell(f"start with a table of {READY_STRINGS:,} strings")
    run = found.runs["embed"]
    return seconds_to_ready(run, load_run(run).network.config.text_dim, READY_STRINGS, options.rounds, work)


def _speeds(results: Results, found: Sources, crowd: Crowd) -> dict[str, float]:
    """GFLOP/s of our cold fp32 measurements."""
    cold = [
        result
        for (who, cell), result in results.items()
        if (who.toolkit, who.precision, cell.mode) == (OURS, "fp32", COLD) and cell.callers
    ]
    gflop = {}
    for variant, events in dict.fromkeys((result.contestant.variant, result.cell.events) for result in cold):
        run = load_run(found.runs[variant])
        records = crowd.cold(PEAK_RECORDS, events)
        gflop[variant, events] = mean_gflop(run.network.config, Tokenizer(run.vocabulary), records)
    speeds = {}
    for result in cold:
        each = gflop[result.contestant.variant, result.cell.events]
        what = f"{result.contestant}: {result.cell}, {each:.2f} GFLOP each"
        speeds[what] = each * result.median("requests_per_second")
    return speeds


def _about(options: Options) -> dict[str, object]:
    server = find_server_environment().prefix / "bin" / "python"
    return {
        **machine(),
        "preset": options.preset,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "seed": options.seed,
        "server": versions(server, "nvidia-pytriton", "onnxruntime", "numpy"),
        "ours": versions(sys.executable, "pragmatiq-triton"),
    }


if __name__ == "__main__":
    main()
