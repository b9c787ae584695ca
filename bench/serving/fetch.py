"""Getting perf_analyzer: a program inside a Python wheel, and two libraries that the wheel leaves out."""

import ctypes.util
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from bench.serving.errors import BenchError

WHEELS = ("tritonclient==2.49.0", "nvidia-cuda-runtime-cu12")
"""The last client with a perf_analyzer that reads everything needed here, and the CUDA runtime that it is linked to."""
LIBB64 = "libb64-0d"


@dataclass(frozen=True)
class Program:
    """An executable, and the folders that ``LD_LIBRARY_PATH`` needs for it."""

    path: Path
    library_folders: tuple[Path, ...]


def perf_analyzer(folder: Path) -> Program:
    """perf_analyzer below ``folder``, fetched on first use.

    Raises :class:`BenchError` where it cannot be had or does not run here.
    """
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _unpack_wheels(folder)
        if ctypes.util.find_library("b64") is None:
            _unpack_libb64(folder)
    program = _found(folder)
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, program.library_folders))}
    done = subprocess.run([program.path, "--version"], env=environment, capture_output=True, encoding="utf-8")
    if "Perf Analyzer" not in done.stdout + done.stderr:
        raise BenchError(f"{program.path} does not run here: {done.stderr.strip()}")
    (folder / "ready").touch()
    return program


def _found(folder: Path) -> Program:
    path = next(folder.rglob("perf_analyzer"), None)
    if path is None:
        raise BenchError(f"{folder}: expected perf_analyzer in the wheel {WHEELS[0]}; remove the folder and try again")
    path.chmod(0o755)
    libraries = {found.parent for name in ("libb64.so*", "libcudart.so*") for found in folder.rglob(name)}
    return Program(path, tuple(sorted(libraries)))


def _unpack_wheels(folder: Path) -> None:
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder)]
    # Two platform tags: newer wheels of the CUDA runtime have the second one alone.
    platforms = ["--only-binary=:all:", "--platform", "manylinux1_x86_64", "--platform", "manylinux2014_x86_64"]
    done = subprocess.run([*download, *platforms, *WHEELS], capture_output=True, encoding="utf-8")
    if done.returncode:
        raise BenchError(f"cannot download {' and '.join(WHEELS)}, which perf_analyzer is in: {done.stderr.strip()}")
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "files")
        wheel.unlink()


def _unpack_libb64(folder: Path) -> None:
    """Debian's package, unpacked without root."""
    reason = "apt-get and dpkg are not here"
    if shutil.which("apt-get") and shutil.which("dpkg"):
        done = subprocess.run(["apt-get", "download", LIBB64], cwd=folder, capture_output=True, encoding="utf-8")
        package = next(folder.glob("*.deb"), None)
        if package is not None:
            subprocess.run(["dpkg", "-x", package, folder / "files"], check=True)
            return
        reason = done.stderr.strip()
    raise BenchError(
        f"perf_analyzer needs libb64.so.0d, which this system lacks and which could not be fetched ({reason}): "
        f"install the Debian or Ubuntu package {LIBB64}"
    )
