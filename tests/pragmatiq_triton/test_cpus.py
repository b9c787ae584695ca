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


def nested(root, levels):
    """A group below a group, each with its quota, from the root down; the innermost is the process's own."""
    folder = root
    for name, content in levels:
        folder /= name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(content, encoding="ascii")


def test_the_least_of_the_nested_groups_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    nested(tmp_path, [("kubepods", "800000 100000"), ("pod", "300000 100000"), ("container", "max 100000")])
    membership = tmp_path / "membership"
    for path, expected in {
        "/kubepods/pod/container": 3,
        "/kubepods/pod": 3,
        "/kubepods": 8,
        "/": 16,
        "/gone": 16,
    }.items():
        membership.write_text(f"0::{path}\n", encoding="ascii")
        assert usable_cpus(tmp_path, membership) == expected


@pytest.mark.parametrize("mounted", ["cpu", "cpu,cpuacct"])
def test_nested_groups_of_version_1_are_read(tmp_path, monkeypatch, mounted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    for path, quota in {"docker": "-1", "docker/one": "250000"}.items():
        folder = tmp_path / mounted / path
        folder.mkdir(parents=True)
        (folder / "cpu.cfs_quota_us").write_text(quota, encoding="ascii")
        (folder / "cpu.cfs_period_us").write_text("100000", encoding="ascii")
    membership = tmp_path / "membership"
    membership.write_text("3:cpuset:/\n2:cpu,cpuacct:/docker/one\n0::/\n", encoding="ascii")
    assert usable_cpus(tmp_path, membership) == 3
