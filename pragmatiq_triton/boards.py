"""The files over which gateway and models speak past Triton; whoever starts both makes them."""

from pathlib import Path

from pragmatiq_triton import given_up, stage_times
from pragmatiq_triton.given_up import GivenUp
from pragmatiq_triton.stage_times import StageTimes

GIVEN_UP = "given-up"
STAGE_TIMES = "stage-times"


def create_boards(folder: Path) -> dict[str, str]:
    """Make the boards in a server's own ``folder``; the variables that name them to the models' processes."""
    GivenUp.create(folder / GIVEN_UP)
    StageTimes.create(folder / STAGE_TIMES)
    return {given_up.VARIABLE: str(folder / GIVEN_UP), stage_times.VARIABLE: str(folder / STAGE_TIMES)}
