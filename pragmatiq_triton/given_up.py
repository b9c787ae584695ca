"""Whose callers have given up: a board that the gateway writes and the models read, so that nobody's work is not done.

Triton hands a cancelled call on to a Python model only if the model asks for it over a pipe, request by request. A file
that both sides have mapped costs a model a tenth of a microsecond a look, over whatever protocol a request came.
"""

import mmap
import os
from pathlib import Path

VARIABLE = "PRAGMATIQ_GIVEN_UP"
"""Environment variable of the models' processes: the file of the board."""

DEADLINE_PASSED = "the caller's deadline has passed"
"""What a model says of a request that came too late."""

SLOTS = 1 << 16
"""So many tickets after it a ticket's slot is another's, whose caller may give up too."""

_TICKET_BYTES = 8


class GivenUp:
    """The tickets of requests that nobody waits for; a ticket is the gateway's running number of a request, from 1."""

    def __init__(self, file: Path | None, *, writes: bool = False) -> None:
        """Map ``file``, which :meth:`create` made; without one nobody gives up."""
        self._slots: memoryview | None = None
        if file is not None:
            with file.open("r+b" if writes else "rb") as opened:
                access = mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ
                self._slots = memoryview(mmap.mmap(opened.fileno(), SLOTS * _TICKET_BYTES, access=access)).cast("Q")

    @staticmethod
    def create(file: Path) -> None:
        """Make an empty board that this account alone can read."""
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.ftruncate(descriptor, SLOTS * _TICKET_BYTES)
        finally:
            os.close(descriptor)

    @classmethod
    def of_process(cls) -> "GivenUp":
        """What :data:`VARIABLE` names."""
        name = os.environ.get(VARIABLE)
        return cls(Path(name) if name else None)

    def write(self, ticket: int) -> None:
        """Say that nobody waits for ``ticket`` any more."""
        if self._slots is not None:
            self._slots[ticket % SLOTS] = ticket

    def __contains__(self, ticket: int) -> bool:
        return self._slots is not None and ticket > 0 and self._slots[ticket % SLOTS] == ticket
