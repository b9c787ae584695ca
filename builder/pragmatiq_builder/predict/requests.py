"""What is to be predicted: each customer of a book as of now, or as of every moment that a table names."""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pragmatiq_builder.raw.findings import SetAside
from pragmatiq_builder.raw.labels import read_label_table
from pragmatiq_builder.raw.likeness import likeness, plainest
from pragmatiq_builder.raw.own_features import FeatureTable, read_feature_table
from pragmatiq_builder.raw.records import read_records
from pragmatiq_builder.score_input import read_lines
from pragmatiq_triton.errors import ConfigError, DataError, RecordError
from pragmatiq_triton.records import decode_record
from pragmatiq_triton.time_range import TimeRange


@dataclass(frozen=True, slots=True)
class Shard:
    """The ``number``-th of ``count`` parts of a book's customers, which a customer's id alone decides."""

    number: int = 1
    count: int = 1

    @classmethod
    def of(cls, text: str) -> "Shard":
        """Read ``I/N``; :class:`ConfigError` for any other text."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise ConfigError(f"--shard {text}: expected I/N with I from 1 to N, such as 1/4")
        return cls(int(number), int(count))

    def holds(self, user_id: str) -> bool:
        """Whether the customer is of this part."""
        return zlib.crc32(user_id.encode("utf-8", "replace")) % self.count == self.number - 1


class Request(NamedTuple):
    """One row to predict.

    ``place`` says where it comes from, in words; ``row`` is the number of its row in the table of moments, -1 without;
    ``at`` is its moment in microseconds, 0 without. ``raw`` is the record; if it has none, ``problem`` says why.
    """

    place: str
    user_id: str
    row: int = -1
    at: int = 0
    raw: bytes = b""
    problem: str = ""


class OwnFeatures:
    """Puts the features of a table into records; ``lacking`` counts those for whom it has no row."""

    def __init__(self, table: FeatureTable) -> None:
        self.lacking = 0
        self._table = table

    def add(self, record: dict[str, Any], at: int) -> dict[str, Any]:
        """The record with the features of its customer, at the moment ``at`` if the table has moments."""
        row = self._table.row((record["user_id"], at, 0))
        if row is None:
            self.lacking += 1
            return record
        known = zip(self._table.names, self._table.values[row].tolist(), strict=True)
        return {**record, "features": {name: value for name, value in known if value == value}}


class Moments:
    """The rows of a table of moments, by customer.

    A row of ``eval_ts`` sees what lies strictly before it; one of ``ts`` is of the event of that moment, and sees it
    and what lies strictly before it, as in training. A row without a customer or a plausible moment is refused, and
    the others are not.
    """

    def __init__(self, file: Path, times: TimeRange) -> None:
        aside = SetAside()
        table = read_label_table(file, aside, times=times, labelled=False)
        if table is None or not len(table.rows):
            for (path, row), (_, problem) in sorted(aside.rows.items()):
                raise DataError(f"{path}: none of its {len(aside.rows):,} rows can be used; row {row}: {problem}")
            raise DataError(f"{file}: has no rows, expected a moment in each")
        self.time = table.time
        self.count = len(table.rows) + len(aside.rows)
        self._refused = [(path.name, row, *found) for (path, row), found in sorted(aside.rows.items())]
        self._refused_users = {user_id for _, _, user_id, _ in self._refused}
        self._file = file
        self.customers_without = 0
        """Customers of the data, so far, of whom no row is."""
        self.rows_without_history = 0
        """Rows, so far, before whose moment nothing lies in the record."""
        self.rows_of_unknown = 0
        self._seen: set[str] = set()
        self._of_user: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for user_id, row, at in zip(table.users.to_pylist(), table.rows.tolist(), table.at.tolist(), strict=True):
            self._of_user[user_id].append((row, at))
        self._plainest = {plainest(user_id) for user_id in self._of_user}
        self._like: set[str] = set()
        self._unknown: list[str] = []

    def hear(self, user_id: str) -> None:
        """Remember a customer of the data, of whichever shard, whose id may be one of the table's written otherwise."""
        if user_id not in self._of_user and user_id not in self._seen and plainest(user_id) in self._plainest:
            self._like.add(user_id)

    def notes(self) -> list[str]:
        """What is to be said at the end, in sentences."""
        told = []
        if self._unknown:
            told.append(
                f"{self._file}: {self.rows_of_unknown:,} rows are of {len(self._unknown):,} customers who are not in "
                f"the data{likeness(self._unknown, self._like)}"
            )
        if self.rows_without_history:
            told.append(
                f"{self._file}: {self.rows_without_history:,} rows are of moments before the customer's first event: "
                "their scores are of an empty history, which finetune and evaluate leave out"
            )
        return told

    def requests(
        self, place: str, user_id: str, record: dict[str, Any], own: OwnFeatures | None = None
    ) -> Iterator[Request]:
        """One for each of the customer's rows; a second record of the same customer is refused."""
        rows = self._of_user.pop(user_id, None)
        if rows is None:
            if user_id in self._seen:
                yield Request(place, user_id, problem="an earlier record has this user_id, and the rows were its")
            elif user_id not in self._refused_users:
                self.customers_without += 1
            return
        self._seen.add(user_id)
        for row, at in rows:
            where = f"{place}, {self._file.name} row {row}"
            end = record.get("eval_ts")
            if isinstance(end, int) and 0 < end < at:
                seen, problem = {}, f"$.eval_ts: the record ends at {end}, before the row's moment {at}; leave it out"
            elif self.time == "eval_ts":
                seen, problem = {**record, "eval_ts": at}, ""
                self.rows_without_history += not _has_history(record, at)
            else:
                seen, problem = _at_event(record, at)
            if own and not problem:
                seen = own.add(seen, at)
            raw = b"" if problem else msgspec.json.encode(seen)
            yield Request(where, user_id, row, at, raw, problem)

    def left(self, shard: Shard) -> Iterator[Request]:
        """The rows of customers who were not there, and those that cannot be used."""
        for user_id, rows in self._of_user.items():
            if shard.holds(user_id):
                self._unknown.append(user_id)
                self.rows_of_unknown += len(rows)
                for row, at in rows:
                    place = f"{self._file.name} row {row}"
                    yield Request(place, user_id, row, at, problem="no customer of the data has this user_id")
        for file, row, user_id, problem in self._refused:
            if shard.holds(user_id):
                yield Request(f"{file} row {row}", user_id, row, problem=problem)


def own_features_of(path: Path | None, data: Path, moments: Moments | None, times: TimeRange) -> OwnFeatures | None:
    """The features of the file ``path``; None without one.

    Raises :class:`ConfigError` for a file of records, which bring theirs themselves, and :class:`DataError` where the
    table breaks its contract or has other moments than the rows.
    """
    if path is None:
        return None
    if not data.is_dir():
        raise ConfigError("--features: records of a file bring their features themselves, in the member features")
    table = read_feature_table(path, times, at_moments=moments is not None, by_event=False)
    if moments and table.time != moments.time:
        raise DataError(f"{path}: has {table.time}, but the moments have {moments.time}; expected the same")
    return OwnFeatures(table)


def read_requests(
    data: Path, moments: Moments | None, shard: Shard, times: TimeRange, own: OwnFeatures | None = None
) -> Iterator[Request]:
    """The rows to predict, in the data's order; rows of unknown customers are at the end."""
    for place, user_id, record in _customers(data, times):
        if moments is not None and user_id:
            moments.hear(user_id)
        if not shard.holds(user_id):
            continue
        if moments is None:
            if own and isinstance(record, dict):
                record = own.add(record, 0)
            raw = record if isinstance(record, bytes) else msgspec.json.encode(record)
            yield Request(place, user_id, raw=raw, problem="" if raw else _TOO_LONG)
        elif isinstance(record, dict) and not isinstance(record.get("user_id"), str):
            kind = f"got {type(record['user_id']).__name__}" if "user_id" in record else "and there is none"
            problem = f"$.user_id: expected text, by which the rows of --at are found, {kind}"
            yield Request(place, "", raw=msgspec.json.encode(record), problem=problem)
        elif isinstance(record, dict):
            yield from moments.requests(place, user_id, record, own)
        else:
            yield Request(place, user_id, raw=record, problem="" if record else _TOO_LONG)
    if moments is not None:
        yield from moments.left(shard)


_TOO_LONG = "the line is too long to be a record"


def _customers(data: Path, times: TimeRange) -> Iterable[tuple[str, str, dict[str, Any] | bytes]]:
    """Where each customer is, the id, and the record: a mapping, or the bytes of a line that is none."""
    if data.is_dir():
        for record in read_records(data, times):
            yield f"customer {record['user_id']}", record["user_id"], record
        return
    for line in read_lines(data):
        place = f"line {line.number}"
        raw = line.raw or b""
        read: Any = None
        with suppress(ValueError, RecursionError):
            read = msgspec.json.decode(raw)
        user_id = read.get("user_id", "") if isinstance(read, dict) else ""
        yield place, user_id if isinstance(user_id, str) else "", read if isinstance(read, dict) else raw


def _at_event(record: dict[str, Any], at: int) -> tuple[dict[str, Any], str]:
    """The record as it was when the event of moment ``at`` came, or why that cannot be said."""
    try:
        events = record["events"]
        own = [event for event in events if event["ts"] == at]
        if len(own) != 1:
            n = len(own) or "no"
            return {}, f"{n} events at ts {at}, expected one: which of them is meant cannot be told"
        before = [event for event in events if event["ts"] < at]
        lifelong = [item for item in record.get("lifelong") or [] if item["ts"] < at]
    except (KeyError, TypeError):
        return {}, _why_unreadable(record)
    return {**record, "events": [*before, *own], "lifelong": lifelong, "as_of": at}, ""


def _why_unreadable(record: dict[str, Any]) -> str:
    """What the server would say of a record whose events have no moments to cut them by."""
    try:
        decode_record(msgspec.json.encode(record))
    except RecordError as error:
        return str(error)
    return "events and lifelong cannot be cut at the row's moment: expected whole microseconds in each ts"


def _has_history(record: dict[str, Any], at: int) -> bool:
    """Whether an event lies before ``at``; a record that cannot be read is refused for that, and not counted here."""
    try:
        return any(event["ts"] < at for event in record["events"])
    except (KeyError, TypeError):
        return True
