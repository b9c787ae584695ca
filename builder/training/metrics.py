"""What training tells: averages over the steps since the last report, one JSON object per line."""

import json
from pathlib import Path
from typing import Any

from builder.objective import Losses, Targets
from pragmatiq_triton.errors import ArtifactError


class Averages:
    """Means over batches, weighed by what each is a mean over."""

    def __init__(self, sums: dict[str, float] | None = None) -> None:
        self.sums = dict.fromkeys(("loss", "batches", "ce", "values", "correct", "mse", "texts"), 0.0) | (sums or {})

    def add(self, losses: Losses, targets: Targets) -> None:
        n_values, n_texts = len(targets.labels), len(targets.text_index)
        for name, amount in {
            "loss": losses.loss.item(),
            "batches": 1,
            "ce": losses.ce.item() * n_values,
            "values": n_values,
            "correct": losses.n_correct.item(),
            "mse": losses.mse.item() * n_texts,
            "texts": n_texts,
        }.items():
            self.sums[name] += amount

    def means(self) -> dict[str, float]:
        """``loss``, ``ce``, ``mse`` and ``masked_accuracy``; 0 where nothing was masked."""
        sums = self.sums
        ratios = {
            "loss": ("loss", "batches"),
            "ce": ("ce", "values"),
            "mse": ("mse", "texts"),
            "masked_accuracy": ("correct", "values"),
        }
        return {name: sums[total] / max(sums[count], 1) for name, (total, count) in ratios.items()}


class MetricsFile:
    """``metrics.jsonl``: appended line by line, cut back where a resumed training starts over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, record: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def last(self) -> dict[str, Any]:
        """Everything told of the newest step; empty where nothing was told."""
        records = self._records()[-2:]
        newest = [record for _, record in records if record["step"] == records[-1][1]["step"]]
        return {name: value for record in newest for name, value in record.items()}

    def cut_after(self, step: int) -> None:
        """Drop the lines of steps past ``step``, and a last line that a kill left unfinished."""
        if self.path.exists():
            kept = "".join(line for line, record in self._records() if record["step"] <= step)
            partial = self.path.with_name(f"{self.path.name}.partial")
            partial.write_text(kept, encoding="utf-8")
            partial.replace(self.path)

    def _records(self) -> list[tuple[str, dict[str, Any]]]:
        """The whole lines and what they say; :class:`ArtifactError` for one that says nothing."""
        if not self.path.exists():
            return []
        number, records = 0, []
        try:
            for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(keepends=True), 1):  # noqa: B007
                if line.endswith("\n"):
                    record = json.loads(line)
                    int(record["step"])
                    records.append((line, record))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{self.path}: line {number} cannot be read ({type(error).__name__}: {error}); move the file away, the "
                "training goes on without it"
            ) from None
        return records
