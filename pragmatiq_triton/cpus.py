"""How many cores a process may really use."""

import os
from math import ceil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """The cores that this process may run on, at most what its container's CPU limit comes to, and at least 1.

    A container's limit is a quota of time, which the scheduler's affinity does not show: threads beyond it are stopped
    in the middle of a request until the next period. Read from cgroup v2's ``cpu.max``, or v1's ``cpu.cfs_quota_us``.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{of}_us").read_text("ascii") for of in ("quota", "period"))
        return max(1, min(cores, ceil(int(quota) / int(period)))) if int(quota) > 0 else cores
    except (OSError, ValueError):
        # No cgroup here, or "max": no limit.
        return cores
