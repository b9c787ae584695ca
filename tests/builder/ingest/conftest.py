"""A folder of tables, ingested as a user would."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pragmatiq_builder.ingest import IngestReport, ingest

CARDS = {"table": "cards.csv", "source": "card", "user": "user", "time": "at", "fields": ["amount"]}


class Said:
    """Progress that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, title: str, total: int | None) -> None:
        pass

    def advance(self, steps: int, note: str = "") -> None:
        pass

    def say(self, line: str) -> None:
        self.lines.append(line)


@dataclass
class Tables:
    """Tables in ``folder``, and what came of them in ``out``."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def write(self, name: str, content: str, encoding: str = "utf-8") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode(encoding))
        return path

    def cards(self, *rows: str, header: str = "user,at,amount") -> None:
        self.write("cards.csv", "\n".join([header, *rows]) + "\n")

    def ingest(self, *, progress: Any = None, memory: str | None = None, **settings: Any) -> IngestReport:
        """With events of ``cards.csv`` unless others are given, and with no limits unless some are."""
        whole = {"events": [CARDS], "limits": {"bad_rows": 1.0, "duplicates": 1.0, "unknown_users": 1.0}, **settings}
        (self.folder / "ingest.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        return ingest(self.folder / "ingest.yaml", self.out, memory=memory, progress=progress or Said())

    def events(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.out / "events.parquet").to_pylist()
        return [row | {"fields": dict(row["fields"])} for row in rows]

    def times(self) -> list[str]:
        return [row["ts"].isoformat() for row in self.events()]

    def amounts(self) -> list[str | None]:
        return [row["fields"].get("amount") for row in self.events()]

    def labels(self, task: str) -> list[tuple[str, int]]:
        return [
            (row["user_id"], row["label"]) for row in pq.read_table(self.out / "labels" / f"{task}.parquet").to_pylist()
        ]

    def profiles(self) -> list[dict[str, Any]]:
        return list(pq.read_table(self.out / "profiles.parquet").to_pylist())

    def rejected(self) -> list[dict[str, str]]:
        file = self.folder / "out.rejected.csv"
        if not file.exists():
            return []
        with file.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    def reasons(self) -> list[tuple[str, str]]:
        """Row or line, and reason."""
        return [(row["row"] or f"line {row['line']}", row["reason"]) for row in self.rejected()]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


@pytest.fixture
def record() -> Callable[[dict[str, str]], dict[str, Any]]:
    """The row as it came, of a line of the reject file."""
    return lambda line: json.loads(line["record"])
