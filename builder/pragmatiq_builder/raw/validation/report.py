"""What a validation found."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pragmatiq_builder.raw.findings import told


@dataclass(slots=True)
class Finding:
    """One kind of problem in one file: how many rows have it, and the first of them.

    ``example`` is that row's number (from 0) and its plain columns, times as the integers stored.
    """

    file: str
    what: str
    count: int
    example: dict[str, Any] | None = None

    def line(self) -> str:
        """The problem for people, in the words of the other commands' error."""
        line = f"{self.file}: {told(self.what, self.example)}"
        return f"{line} ({self.count:,} such)" if self.example and self.count > 1 else line


@dataclass(slots=True)
class ValidationReport:
    """Errors make the data unusable or wrong, warnings are put up with; the rest says how much data there is.

    ``sources`` and ``keys`` count the events' sources and field keys, ``labels`` the rows of each label file;
    ``first_ts`` and ``last_ts`` are µs since 1970, None without any valid time.
    """

    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    users: int = 0
    events: int = 0
    profiles: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    first_ts: int | None = None
    last_ts: int | None = None

    @property
    def ok(self) -> bool:
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON, with the first and the last event's time as dates too."""
        first, last = (None if ts is None else f"{np.datetime64(ts, 'us')}Z" for ts in (self.first_ts, self.last_ts))
        return {"ok": self.ok, **asdict(self), "first_event": first, "last_event": last}
