"""A progress that remembers what it heard."""

from pragmatiq_builder.progress import Silent


class Counting(Silent):
    """The newest stage's total, the steps of all stages, and the lines that stay."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.steps: list[int] = []
        self.lines: list[str] = []

    def stage(self, title: str, total: int | None) -> None:
        self.total = total

    def advance(self, steps: int, note: str = "") -> None:
        self.steps.append(steps)

    def say(self, line: str) -> None:
        self.lines.append(line)
