"""Two toolkits driven by their command lines, ours and upstream's: how each is called, and what it says it did."""

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CORES = len(os.sched_getaffinity(0))
# The upstream release that is compared with, and versions that it is known to load with.
UPSTREAM = (
    "pragmatiq[train,serve]==1.1.0",
    "torch==2.13.0",
    "numpy<2",
    "pyarrow<22",
    "ml-dtypes<0.6",
    "onnxruntime<1.31",
)


class Sizes(NamedTuple):
    """What a tokenized data set holds."""

    events: int
    tokens: int
    vocab_size: int


@dataclass(frozen=True)
class Toolkit:
    """A command line, and where its programs write what they did."""

    name: str
    program: tuple[str, ...]
    manifest: str
    events_key: str
    tokens_key: str
    speed_key: str
    pretrain_settings: Mapping[str, Any]
    tokenize_options: tuple[str, ...] = ()

    def tokenize(self, data: Path, out: Path, *options: str | Path) -> float:
        """Seconds of wall time that ``tokenize`` takes, into a folder ``out`` that is made anew."""
        shutil.rmtree(out, ignore_errors=True)
        return _run(*self.program, "tokenize", data, "--out", out, *self.tokenize_options, *options)

    def sizes(self, tok: Path) -> Sizes:
        """What the toolkit wrote of the data set ``tok``."""
        manifest, tokenizer = _read_json(tok / self.manifest), _read_json(tok / "tokenizer" / "tokenizer.json")
        return Sizes(manifest[self.events_key], manifest[self.tokens_key], tokenizer["vocab_size"])

    def pretrain(self, tok: Path, work: Path, model_size: str, settings: Mapping[str, Any]) -> float:
        """Event tokens per second that ``pretrain`` reports last."""
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        config = work / "pretrain.yaml"
        config.write_text(yaml.safe_dump({**settings, **self.pretrain_settings}), encoding="utf-8")
        run = self.run_of(work)
        where = ("--name", run.name, "--runs-root", run.parent)
        _run(*self.program, "pretrain", tok, *where, "--model-size", model_size, "--config", config)
        return self.last_speed(run / "metrics.jsonl")

    def run_of(self, work: Path) -> Path:
        """The run that :meth:`pretrain` leaves in ``work``."""
        return work / "bench"

    def last_speed(self, metrics: Path) -> float:
        """The newest report of speed in a metrics file, which may hold other lines after it."""
        lines = map(json.loads, metrics.read_text(encoding="utf-8").splitlines())
        speeds: list[float] = [line[self.speed_key] for line in lines if self.speed_key in line]
        if not speeds:
            raise SystemExit(f"{metrics}: expected lines with {self.speed_key!r}, found none")
        return speeds[-1]


def ours(precision: str = "auto") -> Toolkit:
    return Toolkit(
        name="ours",
        program=(sys.executable, "-m", "pragmatiq_builder.cli"),
        manifest="meta.json",
        events_key="events",
        tokens_key="tokens",
        speed_key="tokens_per_second",
        pretrain_settings={"accumulate": 1, "precision": precision},
    )


def upstream(environment: Path, name: str = "upstream", tokenize_options: tuple[str, ...] = ()) -> Toolkit:
    """The upstream toolkit's command line, from :func:`upstream_environment`."""
    return Toolkit(
        name=name,
        program=(str(upstream_environment(environment) / "bin" / "pragmatiq"),),
        manifest="shard_manifest.json",
        events_key="total_events",
        tokens_key="total_tokens",
        speed_key="tokens_per_sec_window",
        pretrain_settings={"grad_accum_steps": 1},
        tokenize_options=tokenize_options,
    )


def upstream_environment(folder: Path) -> Path:
    """The virtual environment ``folder`` with the upstream toolkit, made on first use; a link to one is followed."""
    environment = folder.resolve()
    if not (environment / "ready").exists():
        venv.create(environment, with_pip=True, clear=True)
        _run(environment / "bin" / "pip", "install", "-q", *UPSTREAM)
        (environment / "ready").touch()
    return environment


def versions(python: str | Path, *packages: str) -> dict[str, str]:
    """Versions of ``packages`` in the environment of ``python``."""
    command = "import json, sys; from importlib.metadata import version; "
    command += "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    answer = subprocess.run([python, "-c", command, *packages], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(answer.stdout)
    return found


def _run(*words: str | Path) -> float:
    """Seconds of wall time that a command takes with a thread per core; its failure ends the benchmark."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(CORES)}
    command = [str(word) for word in words]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
