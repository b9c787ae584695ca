"""Typed records, for those who would rather not write the JSON's dictionaries by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Moment = datetime | int | Any
"""A datetime with a zone, or whole microseconds since the epoch; :func:`micros` says what else counts."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a history.

    Attributes:
        ts: when it happened.
        source: the table or stream that it comes from, such as ``transaction``.
        fields: what it says: strings, numbers, booleans; None is a missing value.
    """

    ts: Moment
    source: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As the wire has it; values are not converted yet."""
        return {"ts": self.ts, "source": self.source, "fields": self.fields}


@dataclass(frozen=True, slots=True)
class Milestone:
    """Something that happened once in a customer's life, such as ``account_opened``."""

    key: str
    ts: Moment

    def to_dict(self) -> dict[str, Any]:
        """As the wire has it; values are not converted yet."""
        return {"key": self.key, "ts": self.ts}


@dataclass(frozen=True, slots=True)
class Record:
    """One customer: history and profile.

    Attributes:
        events: the history, in any order; may be empty.
        user_id: for the caller's own use; text, a whole number or a UUID.
        attributes: the profile: strings, numbers, booleans; None is a missing value.
        lifelong: milestones.
        as_of: the moment of judgement; None is that of the newest event.
        eval_ts: read the record as it was before that moment; None reads all of it.
        features: numbers of your own, as of the moment of judgement, for heads that were fitted with them; a name that
            is not there, or None, is unknown.

    Example:
        >>> Record(
        ...     user_id="42",
        ...     events=[Event(datetime(2025, 1, 30, 9, 42, tzinfo=UTC), "transaction", {"amount": Decimal("24.32")})],
        ...     lifelong=[Milestone("account_opened", date(2023, 8, 29))],
        ... )
    """

    events: Sequence[Event | Mapping[str, Any]]
    user_id: Any = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    lifelong: Sequence[Milestone | Mapping[str, Any]] = ()
    as_of: Moment | None = None
    eval_ts: Moment | None = None
    features: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As the wire has it; values are not converted yet."""
        record: dict[str, Any] = {
            "user_id": self.user_id,
            "events": self.events,
            "attributes": self.attributes,
            "lifelong": self.lifelong,
        }
        for name, moment in (("as_of", self.as_of), ("eval_ts", self.eval_ts)):
            if moment is not None:
                record[name] = moment
        if self.features:
            record["features"] = self.features
        return record
