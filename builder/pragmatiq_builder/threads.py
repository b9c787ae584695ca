"""How many threads training takes: one for each core that is free, and none that spins while it waits.

On cores that others use too, threads that wait for one another by spinning take the time of the one that they wait for.
OpenMP reads its settings when torch is imported, so they are set before.
"""

import os
import sys
import time
from pathlib import Path

from pragmatiq_triton.cpus import usable_cpus
from pragmatiq_triton.errors import ConfigError

AUTO = "auto"
SAMPLE_SECONDS = 0.5
_VARIABLE = "OMP_NUM_THREADS"
_STAT = Path("/proc/stat")


def set_threads(asked: str = AUTO) -> int:
    """Have torch, ONNX Runtime and scikit-learn compute with ``asked`` threads; returns how many that are.

    ``auto``: what the environment variable OMP_NUM_THREADS says, else :func:`free_cpus`. Raises :class:`ConfigError`
    for what is neither ``auto`` nor a number of at least 1.
    """
    threads = _number(asked)
    os.environ[_VARIABLE] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
    return threads


def threads() -> int:
    """What :func:`set_threads` set; without it the cores that this process may use."""
    value = os.environ.get(_VARIABLE, "")
    return int(value) if value.isdigit() and int(value) else usable_cpus()


def free_cpus(seconds: float = SAMPLE_SECONDS, stat: Path = _STAT) -> int:
    """How many of the cores that this process may use nobody used for ``seconds``, at least 1."""
    before = _idle(stat)
    time.sleep(seconds)
    return free_between(before, _idle(stat), usable_cpus())


def free_between(before: dict[int, tuple[int, int]], after: dict[int, tuple[int, int]], usable: int) -> int:
    """The same of two samples, (idle, total) of each core; ``usable`` where they say nothing."""
    shares = [
        (after[core][0] - idle) / (after[core][1] - total)
        for core, (idle, total) in before.items()
        if core in after and after[core][1] > total
    ]
    return max(1, min(usable, round(sum(shares)))) if shares else usable


def _idle(stat: Path) -> dict[int, tuple[int, int]]:
    """Ticks that each core of ours was idle, and all of its ticks."""
    ours = os.sched_getaffinity(0)
    try:
        lines = stat.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    ticks = {}
    for name, *values in (line.split() for line in lines if line.startswith("cpu")):
        if name != "cpu" and int(name[3:]) in ours:
            # user, nice, system, idle, iowait, irq, softirq, steal; what guests take is in user already.
            counts = [int(value) for value in values[:8]]
            ticks[int(name[3:])] = (counts[3] + counts[4], sum(counts))
    return ticks


def _number(asked: str) -> int:
    if asked == AUTO:
        given = os.environ.get(_VARIABLE, "")
        return int(given) if given.isdigit() and int(given) else free_cpus()
    if not asked.isdigit() or not int(asked):
        raise ConfigError(f"--threads {asked}: expected {AUTO} or a number of at least 1")
    return int(asked)
