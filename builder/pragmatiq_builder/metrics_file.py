"""``metrics.jsonl`` of a run: what training told, one JSON object per line."""

import json
from pathlib import Path
from typing import Any

from pragmatiq_triton.errors import ArtifactError

NAME = "metrics.jsonl"


class MetricsFile:
    """``metrics.jsonl``: appended line by line, cut back where a resumed training starts over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, record: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """Everything told, in the order of the steps; empty where nothing was told."""
        return [record for _, record in self._records()]

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
