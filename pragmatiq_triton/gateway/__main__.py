"""``python -m pragmatiq_triton.gateway SETTINGS``: the gateway as a process; SETTINGS is a JSON file."""

import gc
import logging
import sys
from pathlib import Path

import msgspec
import uvloop

from pragmatiq_triton.errors import PragmatiqError
from pragmatiq_triton.gateway.server import run
from pragmatiq_triton.gateway.settings import GatewaySettings


def main() -> int:
    """The process' exit code; the reason of a failure is the last line that is written."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        settings = msgspec.json.decode(Path(sys.argv[-1]).read_bytes(), type=GatewaySettings)
        # What was imported stays: collections need not look at it, nor come every 700 objects.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        uvloop.run(run(settings))
    except PragmatiqError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
