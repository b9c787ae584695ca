"""How many cores a process may really use."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cpus(cgroup: Path = _CGROUP, membership: Path = _MEMBERSHIP) -> int:
    """The cores that this process may run on, at most what its container's CPU limit comes to, and at least 1.

    A container's limit is a quota of time, which the scheduler's affinity does not show: threads beyond it are stopped
    in the middle of a request until the next period. Read from cgroup v2's ``cpu.max``, or v1's ``cpu.cfs_quota_us``,
    of the process's own group and of every group above it: the least holds.
    """
    cores = len(os.sched_getaffinity(0))
    limits = [limit for folder in _groups(cgroup, membership) if (limit := _limit(folder)) is not None]
    return max(1, min([cores, *limits]))


def _groups(cgroup: Path, membership: Path) -> Iterator[Path]:
    """The folders of the groups that the process is in, from its own to the root, of both versions."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    # Without a line of its own, as where the group lies outside the container's view, the root is all there is to see.
    paths = {"v2": "/", "v1": "/"}
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            paths["v2"] = path
        elif "cpu" in controllers.split(","):
            paths["v1"] = path
    yield from _upwards(cgroup, paths["v2"])
    for name in ("cpu", "cpu,cpuacct"):
        if (cgroup / name).is_dir():
            yield from _upwards(cgroup / name, paths["v1"])
            return


def _upwards(root: Path, path: str) -> Iterator[Path]:
    parts = [part for part in path.split("/") if part and part != ".."]
    for length in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:length])


def _limit(folder: Path) -> int | None:
    """What a group's quota comes to in cores; None where it has none."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = ((folder / f"cpu.cfs_{of}_us").read_text("ascii") for of in ("quota", "period"))
        return ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        # No such files, or "max": no limit.
        return None
