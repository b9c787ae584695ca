"""What a table seems to be, as ``ingest init`` guesses it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pragmatiq_builder.ingest.facts import TableFacts

Kind = Literal["events", "profiles", "labels"]


@dataclass
class Guess:
    """What a table and its columns seem to be.

    Attributes:
        facts: the table.
        kind: what its rows are.
        user: the column of customers, if one seems to be.
        user_why: what speaks for it.
        time: the column of moments.
        other_times: further moments.
        label: the column of a label.
        at_event: whether a label's moment is that of an event.
        event_id: the column of a name of each event.
        source: the column that says the kind of each event.
        fields: columns of values.
        milestones: of profiles, columns that hold lists of names and moments.
        left_out: columns, each with the reason.
    """

    facts: TableFacts
    kind: Kind = "events"
    user: str | None = None
    user_why: str = ""
    time: str | None = None
    other_times: list[str] = field(default_factory=list)
    label: str | None = None
    at_event: bool = False
    event_id: str | None = None
    source: str | None = None
    fields: list[str] = field(default_factory=list)
    milestones: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name_of(self.facts.pattern)


def name_of(pattern: str) -> str:
    """From the name of the file: ``card_payments`` of ``in/card_payments.csv.gz``."""
    stem = Path(pattern.rstrip("/*")).name.split(".")[0]
    if any(mark in stem for mark in "*?[") or not stem:
        stem = Path(pattern).parent.name
    return re.sub(r"\W+", "_", stem.lower()).strip("_") or "events"
