"""How a server that is about to stop tells its first model to take nothing more: by a file.

Triton 2.51 answers whatever comes over open HTTP connections until its exit timeout is over, and then gives up what is
under way. With new requests refused, those that were accepted have all of that time.
"""

import os
from pathlib import Path

DRAIN_FILE_VARIABLE = "PRAGMATIQ_DRAIN_FILE"
"""Environment variable of the models' processes: the file that is there once the server stops."""


class Drain:
    """Whether the server stops."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    @classmethod
    def of_process(cls) -> "Drain":
        """What :data:`DRAIN_FILE_VARIABLE` names; a server without it never says that it stops."""
        name = os.environ.get(DRAIN_FILE_VARIABLE)
        return cls(Path(name) if name else None)

    def variables(self) -> dict[str, str]:
        """What the models' processes find it by."""
        return {DRAIN_FILE_VARIABLE: str(self._file)} if self._file else {}

    def begin(self) -> None:
        """Have new requests refused from now on."""
        if self._file:
            self._file.touch()

    def __bool__(self) -> bool:
        return self._file is not None and self._file.exists()
