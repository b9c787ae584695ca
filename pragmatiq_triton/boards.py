"""What gateway and models share past Triton, files and the key of seals; whoever starts them makes it."""

import secrets
from pathlib import Path

from pragmatiq_triton import given_up, stage_times
from pragmatiq_triton.given_up import GivenUp
from pragmatiq_triton.stage_times import StageTimes

SEAL_KEY = "PRAGMATIQ_SEAL_KEY"
"""Environment variable with the key of seals (:mod:`pragmatiq_triton.serving.seals`)."""

GIVEN_UP = "given-up"
STAGE_TIMES = "stage-times"


def create_boards(folder: Path) -> dict[str, str]:
    """Make the boards in a server's own ``folder``; the variables of the models' processes."""
    GivenUp.create(folder / GIVEN_UP)
    StageTimes.create(folder / STAGE_TIMES)
    return {
        given_up.VARIABLE: str(folder / GIVEN_UP),
        stage_times.VARIABLE: str(folder / STAGE_TIMES),
        SEAL_KEY: secrets.token_hex(32),
    }
