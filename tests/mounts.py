"""Real mounts for tests that need them; only root can make any."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def mounted(place, *arguments):
    """``mount ARGUMENTS PLACE`` for the block; skips the test, with the reason, where that is not allowed."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("not run: only root may mount")
    place.mkdir(exist_ok=True, parents=True)
    done = subprocess.run(["mount", *arguments, place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not run: mount is not allowed here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def tmpfs(place, size="1m"):
    """A small file system of its own."""
    return mounted(place, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")


def bind(source, place):
    """A folder that appears at a second place; on the same file system, where nothing but the mount table tells it."""
    return mounted(place, "--bind", source)


@contextmanager
def read_only(place):
    """``place`` as it is, but read-only."""
    with mounted(place, "--bind", place):
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        yield place
