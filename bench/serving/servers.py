"""The servers that are compared, side by side on one machine: ours over exported runs, and upstream over the same."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from bench.quality import pragmatiq
from bench.serving.analyzer import Target
from bench.serving.errors import BenchError
from bench.serving.processes import cpu_seconds
from bench.serving.records import to_json
from bench.serving.sources import Sources, calibration
from bench.serving.upstream import MODEL, upstream_server
from pragmatiq_triton.batch import Float32
from pragmatiq_triton.records import Record
from pragmatiq_triton.server import ScoringServer, TritonServer
from pragmatiq_triton.server.flags import CLOSED_APIS

OURS, BEHIND, UPSTREAM = "ours", "behind the gateway", "upstream"


@dataclass(frozen=True)
class Contestant:
    """Who answers: ``toolkit`` is OURS (through the gateway), BEHIND (our Triton, without it) or UPSTREAM."""

    toolkit: str
    variant: str
    precision: str = "fp32"

    def __str__(self) -> str:
        return f"{self.toolkit} {self.variant} {self.precision}"


class Endpoint:
    """A running server of one model that embeds records, with a client of its own; ``pids`` are its processes."""

    def __init__(self, target: Target, output: str, pids: Sequence[int], as_list: bool) -> None:
        self.target = target
        self._pids = tuple(pids)
        self._output = output
        self._as_list = as_list
        self._client = grpc.InferenceServerClient(target.url)

    def entry(self, record: Record) -> str:
        """The record as this server reads it."""
        return f"[{to_json(record)}]" if self._as_list else to_json(record)

    def embed(self, record: Record) -> Float32:
        """The user embedding [dim]."""
        return self.prepared(record)()

    def prepared(self, record: Record) -> Callable[[], Float32]:
        """The call that embeds ``record``, with its message made."""
        raw = np.array([self.entry(record).encode()], np.object_).reshape((1,) if self._as_list else (1, 1))
        tensor = grpc.InferInput(self.target.input, raw.shape, "BYTES")
        tensor.set_data_from_numpy(raw)

        def call() -> Float32:
            try:
                answer = self._client.infer(self.target.model, [tensor]).as_numpy(self._output)
            except InferenceServerException as error:
                raise BenchError(f"{self.target.model}: {error}") from error
            return np.asarray(answer, np.float32).reshape(-1)

        return call

    def cpu_seconds(self) -> float:
        """What all of the server's processes have taken."""
        return sum(map(cpu_seconds, self._pids))

    def close(self) -> None:
        self._client.close()


class Fleet:
    """Servers, each started when it is first asked for and stopped with the fleet.

    ``upstream``: the virtual environment of the upstream toolkit; None where it is not measured.
    """

    def __init__(self, sources: Sources, work: Path, upstream: Path | None) -> None:
        self._sources = sources
        self._work = work
        self._upstream = upstream
        self._running: dict[Contestant, Endpoint] = {}
        self._repositories: dict[tuple[str, str], Path] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *error: object) -> None:
        self._running.clear()
        self._stack.close()

    def __getitem__(self, contestant: Contestant) -> Endpoint:
        if contestant not in self._running:
            starts = {OURS: self._start_ours, BEHIND: self._start_behind, UPSTREAM: self._start_upstream}
            self._running[contestant] = starts[contestant.toolkit](contestant)
            self._stack.callback(self._running[contestant].close)
        return self._running[contestant]

    def repository(self, variant: str, precision: str) -> Path:
        """The variant's run as a model repository, exported once per benchmark."""
        key = (variant, precision)
        if key not in self._repositories:
            out = self._work / "repositories" / f"{variant}_{precision}"
            words: list[str | Path] = ["export", self._sources.runs[variant], "--out", out]
            if precision != "fp32":
                words += ["--precision", precision, "--data", calibration(self._sources, variant, self._work)]
            pragmatiq(*words)
            self._repositories[key] = out
        return self._repositories[key]

    def _start_ours(self, contestant: Contestant) -> Endpoint:
        ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
        server = ScoringServer(self.repository(contestant.variant, contestant.precision), **ports)
        self._stack.enter_context(server)
        pids = (server.triton.pid, server.gateway_pid)
        return Endpoint(Target(server.grpc_url, "scoring", "record"), "embedding", pids, as_list=False)

    def _start_behind(self, contestant: Contestant) -> Endpoint:
        server = serve(self.repository(contestant.variant, contestant.precision))
        self._stack.enter_context(server)
        return endpoint(server)

    def _start_upstream(self, contestant: Contestant) -> Endpoint:
        if self._upstream is None:
            raise BenchError("upstream is not to be measured")
        folder = self._work / "upstream_servers" / contestant.variant
        folder.mkdir(parents=True, exist_ok=True)
        server = upstream_server(self._sources.runs[contestant.variant], folder, self._upstream)
        self._stack.enter_context(server)
        return Endpoint(Target(server.grpc_url, MODEL, "records_json"), "embeddings", (server.pid,), as_list=True)


def serve(repository: Path, extra_args: Sequence[str] = ()) -> TritonServer:
    """Triton over ``repository`` on free ports, not started yet; perf_analyzer asks for configs and statistics."""
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    return TritonServer(repository, extra_args=extra_args, open_apis=CLOSED_APIS, **ports)


def endpoint(server: TritonServer) -> Endpoint:
    """A running Triton of ours, over gRPC."""
    return Endpoint(Target(server.grpc_url, "scoring", "record"), "embedding", (server.pid,), as_list=False)
