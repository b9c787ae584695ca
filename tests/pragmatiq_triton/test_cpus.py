import os
from pathlib import Path

import pytest

from pragmatiq_triton.cpus import usable_cpus

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", CORES),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("150000 100000\n", min(2, CORES)),
        ("6400000 100000\n", CORES),
        ("nonsense\n", CORES),
    ],
)
def test_cgroup_v2(tmp_path: Path, limit: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(limit, encoding="ascii")
    assert usable_cpus(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1\n", CORES), ("100000\n", 1)])
def test_cgroup_v1(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota, encoding="ascii")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert usable_cpus(tmp_path) == expected


def test_without_cgroups_it_is_the_affinity(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == CORES
