"""How long work tells about itself; the command line draws it, a library caller may leave it silent."""

from typing import Protocol


class Progress(Protocol):
    """Hears of stages of work and of steps within the newest stage."""

    def stage(self, title: str, total: int | None) -> None:
        """A new stage begins, of ``total`` steps where that is known."""
        ...

    def advance(self, steps: int, note: str = "") -> None:
        """``steps`` more of the stage are done; ``note`` is the newest short remark (a loss, a speed)."""
        ...


class Silent:
    """Progress that nobody watches."""

    def stage(self, title: str, total: int | None) -> None:
        pass

    def advance(self, steps: int, note: str = "") -> None:
        pass
