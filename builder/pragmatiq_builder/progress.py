"""How long work tells about itself; the command line draws it, a library caller may leave it silent."""

from typing import Protocol


class Progress(Protocol):
    """Hears of stages of work, of steps within the newest stage, and of what was done besides."""

    def stage(self, title: str, total: int | None) -> None:
        """A new stage begins, of ``total`` steps where that is known."""
        ...

    def advance(self, steps: int, note: str = "") -> None:
        """``steps`` more of the stage are done; ``note`` is the newest short remark (a loss, a speed)."""
        ...

    def say(self, line: str) -> None:
        """One line that stays: what was replaced, kept, removed or left out, by name."""
        ...


class Silent:
    """Progress that nobody watches."""

    def stage(self, title: str, total: int | None) -> None:
        pass

    def advance(self, steps: int, note: str = "") -> None:
        pass

    def say(self, line: str) -> None:
        pass
