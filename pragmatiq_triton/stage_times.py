"""When each model took up a request and answered it: a board that the models write and the gateway reads.

An answer's own parameters would be the other way to tell, but a Python model of an ensemble cannot set those of the
ensemble's answer. A file that both sides have mapped costs a model a microsecond a request.
"""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "PRAGMATIQ_STAGE_TIMES"
"""Environment variable of the models' processes: the file of the board."""

STAGES = ("tokenizer", "text_embedder", "scorer")
"""The models of an ensemble in their order; an ensemble without text has no ``text_embedder``."""

SLOTS = 1 << 13
"""So many tickets after it a ticket's slot is another's."""

_FIELDS = 3  # ticket, begin, end
_WIDTH = len(STAGES) * _FIELDS
_BYTES = SLOTS * _WIDTH * 8


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage of one request; moments are nanoseconds of ``time.monotonic_ns()``."""

    stage: str
    began: int
    ended: int

    @property
    def seconds(self) -> float:
        """How long it took, waiting for its turn in the model included."""
        return (self.ended - self.began) / 1e9


class StageTimes:
    """The board; a ticket is the gateway's running number of a request, from 1."""

    def __init__(self, file: Path | None) -> None:
        """Map ``file``, which :meth:`create` made; without one nothing is kept."""
        self._slots: memoryview | None = None
        if file is not None:
            with file.open("r+b") as opened:
                self._slots = memoryview(mmap.mmap(opened.fileno(), _BYTES)).cast("Q")

    @staticmethod
    def create(file: Path) -> None:
        """Make an empty board that this account alone can read."""
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.ftruncate(descriptor, _BYTES)
        finally:
            os.close(descriptor)

    @classmethod
    def of_process(cls) -> "StageTimes":
        """What :data:`VARIABLE` names."""
        name = os.environ.get(VARIABLE)
        return cls(Path(name) if name else None)

    def write(self, stage: str, ticket: int, began: int, ended: int) -> None:
        """Keep the times of a stage, if there is a board and the request has a ticket."""
        if self._slots is None or ticket <= 0:
            return
        place = ticket % SLOTS * _WIDTH + STAGES.index(stage) * _FIELDS
        self._slots[place + 1] = began
        self._slots[place + 2] = ended
        self._slots[place] = ticket  # last: whoever finds its ticket finds its times

    def read(self, ticket: int) -> list[StageTime]:
        """The stages of a ticket that was answered."""
        slots = self._slots
        if slots is None or ticket <= 0:
            return []
        place = ticket % SLOTS * _WIDTH
        return [
            StageTime(stage, slots[at + 1], slots[at + 2])
            for stage, at in zip(STAGES, range(place, place + _WIDTH, _FIELDS), strict=True)
            if slots[at] == ticket
        ]
