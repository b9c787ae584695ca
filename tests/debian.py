"""Programs and files of Debian packages, for tests that need what PyPI does not have.

Nothing is installed: what is not on the machine is downloaded and unpacked into a folder that git ignores.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[1] / ".cache" / "debian"


def find_program(name, package):
    """Path of the program ``name``: on PATH, or out of ``package``; without either the test is skipped."""
    installed = shutil.which(name)
    if installed:
        return Path(installed)
    unpacked = unpack(package, wanted=name)
    for folder in ("usr/bin", "usr/sbin", "bin", "sbin"):
        if (unpacked / folder / name).is_file():
            return unpacked / folder / name
    raise AssertionError(f"the Debian package {package} has no program {name}")


def unpack(package, wanted):
    """The files of ``package``, under a folder; the test is skipped, for want of ``wanted``, where it cannot be had."""
    folder = CACHE / package
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            try:
                _download(package, scratch)
            except (OSError, subprocess.SubprocessError):
                pytest.skip(f"not run: no {wanted} (Debian: apt-get install {package})")
            (archive,) = Path(scratch).glob("*.deb")
            _run("dpkg-deb", "--extract", archive, "unpacked", cwd=scratch)
            (Path(scratch) / "unpacked").rename(folder)
    return folder


def _download(package, folder):
    try:
        _run("apt-get", "download", package, cwd=folder)
    except subprocess.CalledProcessError:
        # Lists that are missing, or older than what the mirror still has.
        _run("apt-get", "update", cwd=folder)
        _run("apt-get", "download", package, cwd=folder)


def _run(*command, cwd):
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=120)
