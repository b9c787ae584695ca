"""A progress that remembers what it heard."""

from builder.progress import Silent


class Counting(Silent):
    """The newest stage's total, and the steps of all stages."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.steps: list[int] = []

    def stage(self, title: str, total: int | None) -> None:
        self.total = total

    def advance(self, steps: int, note: str = "") -> None:
        self.steps.append(steps)
