"""Triton's perf_analyzer: how it is called, and what its measurements come to.

Facts of version 2.49 that this rests on: with ``--request-count`` each entry of ``--input-data`` is sent exactly once
(with ``--concurrency-range C`` caller ``i`` sends entries ``i, i + C, ...`` in turn), which is checked here all the
same; its own rate is that of whole measurement windows, so rates are taken from the time stamps of the requests; the
count has to reach the number of callers and the rate per second; the profile export must not exist yet; an error of
any request ends the run.
"""

import math
import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.serving.errors import BenchError
from bench.serving.fetch import Program

_RATE_THREADS = 4
_START_SECONDS = 60


@dataclass(frozen=True)
class Load:
    """``callers`` that each wait for an answer before the next call, or else ``rate`` Poisson-distributed calls/s."""

    callers: int = 0
    rate: float = 0.0

    @property
    def warm_up(self) -> int:
        """Requests that open the connections: sent first and not counted."""
        return self.callers or _RATE_THREADS

    @property
    def fewest(self) -> int:
        """Requests below which perf_analyzer refuses to run or would measure nothing."""
        return self.warm_up + max(self.callers, math.ceil(self.rate), 1)

    def flags(self) -> list[str]:
        if self.callers:
            # Its asynchronous callers hang where the count is no multiple of their threads.
            return ["--sync", "--concurrency-range", str(self.callers)]
        # Synchronous threads would hold back calls while all of them wait.
        distribution = ["--request-distribution", "poisson", "--max-threads", str(_RATE_THREADS)]
        return ["--async", "--request-rate-range", f"{self.rate:.4f}", *distribution]


@dataclass(frozen=True)
class Target:
    """A served model: ``url`` is ``host:port`` of its gRPC service, ``input`` a BYTES [1] tensor."""

    url: str
    model: str
    input: str


@dataclass(frozen=True)
class Profile:
    """The counted requests of one run: each one's latency in ms, and how many there were per second."""

    latencies_ms: tuple[float, ...]
    requests_per_second: float

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.latencies_ms, percent))


class _Request(msgspec.Struct):
    timestamp: int
    request_inputs: dict[str, Any]
    response_timestamps: list[int]


class _Experiment(msgspec.Struct):
    requests: list[_Request]


class _Export(msgspec.Struct):
    experiments: list[_Experiment]


def analyze(
    program: Program, target: Target, load: Load, entries: Sequence[str], seconds: float, work: Path
) -> Profile:
    """Send each of ``entries`` once; ``seconds`` is about how long that takes.

    Raises :class:`BenchError` where a request failed, or an entry was not sent exactly once.
    """
    work.mkdir(parents=True, exist_ok=True)
    inputs, export = work / "inputs.json", work / "profile.json"
    data = [{target.input: {"content": [entry], "shape": [1]}} for entry in entries]
    inputs.write_bytes(msgspec.json.encode({"data": data}))
    export.unlink(missing_ok=True)
    where = ["-m", target.model, "-i", "grpc", "-u", target.url]
    what = ["--input-data", str(inputs), "--request-count", str(len(entries)), "--profile-export-file", str(export)]
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, program.library_folders))}
    try:
        done = subprocess.run(
            [str(program.path), *where, *what, *load.flags()],
            cwd=work,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_START_SECONDS + 20 * seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"perf_analyzer: {target.model}: no end after {error.timeout:.0f} s") from error
    if done.returncode or not export.exists():
        reason = f"{done.stdout}\n{done.stderr.partition('Usage:')[0]}".strip()[-2000:]
        raise BenchError(f"perf_analyzer: {target.model}: ended with {done.returncode}:\n{reason}")
    return read_profile(export.read_bytes(), load.warm_up, Counter(entries))


def read_profile(export: bytes, warm_up: int, entries: Counter[str]) -> Profile:
    """What a profile export says of all requests but the ``warm_up`` that were sent first."""
    try:
        experiments = msgspec.json.decode(export, type=_Export).experiments
    except msgspec.DecodeError as error:
        # It ends with 0 although it did not write all of the file: no space left, or a NaN in an answer.
        raise BenchError(
            f"perf_analyzer's export is not whole ({error}): an answer holds a NaN, or the disk is full"
        ) from error
    requests = [request for experiment in experiments for request in experiment.requests]
    sent = Counter(next(iter(request.request_inputs.values())) for request in requests)
    if sent != entries:
        raise BenchError(
            f"perf_analyzer sent {sent.total()} requests, {len(sent)} of them different, "
            f"instead of each of {len(entries)} entries once"
        )
    unanswered = sum(not request.response_timestamps for request in requests)
    if unanswered:
        raise BenchError(f"{unanswered} of {len(requests)} requests were not answered")
    counted = sorted(requests, key=lambda request: request.timestamp)[warm_up:]
    ends = [request.response_timestamps[-1] for request in counted]
    latencies = tuple((end - request.timestamp) / 1e6 for request, end in zip(counted, ends, strict=True))
    return Profile(latencies, len(counted) / (max(ends) - counted[0].timestamp) * 1e9)
