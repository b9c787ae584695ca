"""``python -m pragmatiq_triton.container [TRITONSERVER-FLAGS]``: serve the model repository until SIGTERM."""

import os
import subprocess
import sys
from collections.abc import Sequence

from pragmatiq_triton.container.settings import TRITONSERVER, Settings
from pragmatiq_triton.container.supervisor import supervise
from pragmatiq_triton.errors import PragmatiqError
from pragmatiq_triton.model_folders import model_names

_WANTED_BYTES = 512 * 1024 * 1024


def serve(extra: Sequence[str]) -> None:
    """Check what can be checked without the server, then run it."""
    settings = Settings.read(os.environ)
    model_names(settings.repository)
    if (size := _shared_memory_bytes()) < _WANTED_BYTES:
        print(f"warning: /dev/shm has {size >> 20} MiB, and requests pass through it: give it 1 GiB (--shm-size=1g)")
    usage = subprocess.run([TRITONSERVER, "--help"], capture_output=True, encoding="utf-8", check=False)
    supervise(settings.command(usage.stdout + usage.stderr, extra), settings.drain_seconds)


def _shared_memory_bytes() -> int:
    size = os.statvfs("/dev/shm")
    return size.f_frsize * size.f_blocks


def main() -> int:
    """The process' exit code; the reason of a failure is the last that is written."""
    try:
        serve(sys.argv[1:])
    except PragmatiqError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
