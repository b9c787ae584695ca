"""As many different customers as a measurement needs, derived from a few given ones, and what they send.

A measurement must not repeat a record: a server that remembers events would answer from memory. A derived customer has
the habits of a given one under other names, so histories keep their lengths and their share of repeated events.
"""

import gzip
import random
import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from pragmatiq_triton.records import Event, Record, decode_record

IDENTIFYING = ("counterparty", "device_id", "merchant")
"""Fields that tell customers apart; the numbers in their values become others."""
AMOUNTS = ("amount", "price", "quantity")
JITTER = 0.03
PAUSE_US = 86_400_000_000
"""Between a history and its copy, and what each copy takes."""
ZIPF_EXPONENT = 1.1
FEWEST_BASES = 10
STRINGS_PER_RECORD = 2000

_NUMBER = re.compile(r"\d{3,}")


def read_records(files: Iterable[Path]) -> list[Record]:
    """The records with events of ``.jsonl`` files, gzipped or not."""
    records = []
    for file in files:
        raw = file.read_bytes()
        lines = (gzip.decompress(raw) if file.suffix == ".gz" else raw).splitlines()
        records += [decode_record(line) for line in lines if line.strip()]
    return [record for record in records if record.events]


class Customer:
    """A customer made of a given record, with a history that goes on in both directions.

    Event 0 is the record's oldest. Beyond its ends the history repeats, shifted in time and with other amounts. Equal
    values stay equal, so an event that occurred twice still does.
    """

    def __init__(self, base: Record, seed: int) -> None:
        self._base = base
        self._seed = seed
        self._events = sorted(base.events, key=lambda event: event.ts)
        self._span = self._events[-1].ts - self._events[0].ts + PAUSE_US
        self._known: dict[int, Event] = {}
        self.user_id = f"u_{self._draw('user_id') % 10**12:012d}"

    @property
    def n_given(self) -> int:
        """Events before the history repeats."""
        return len(self._events)

    def window(self, end: int, n_events: int) -> Record:
        """The record as of event ``end - 1``, with the ``n_events`` events up to it."""
        events = [self._event(index) for index in range(end - n_events, end)]
        return msgspec.structs.replace(self._base, user_id=self.user_id, events=events, as_of=events[-1].ts + 1)

    def _event(self, index: int) -> Event:
        event = self._known.get(index)
        if event is None:
            copy, place = divmod(index, len(self._events))
            given = self._events[place]
            fields = {key: self._renamed(copy, key, value) for key, value in given.fields.items()}
            event = self._known[index] = Event(self._moved(given.ts, copy), given.source, fields)
        return event

    def _moved(self, ts: int, copy: int) -> int:
        """A copy takes a day, so that however many there are the times stay plausible."""
        if not copy:
            return ts
        first = self._events[0].ts
        start = first + copy * PAUSE_US if copy < 0 else first + self._span + (copy - 1) * PAUSE_US
        return start + (ts - first) * PAUSE_US // self._span

    def _renamed(self, copy: int, key: str, value: str | int | float | bool | None) -> str | int | float | bool | None:
        if not isinstance(value, str):
            return value
        if key in IDENTIFYING:
            return _NUMBER.sub(lambda found: self._digits(value, len(found[0])), value)
        if key in AMOUNTS and re.fullmatch(r"-?\d+(\.\d+)?", value):
            part = self._draw(copy, key, value) / 2**64
            decimals = len(value.partition(".")[2])
            return f"{float(value) * (1 + JITTER * (2 * part - 1)):.{decimals}f}"
        return value

    def _digits(self, value: str, width: int) -> str:
        return f"{self._draw(value) % 10**width:0{width}d}"

    def _draw(self, *what: object) -> int:
        """A number below 2**64 that depends on the customer and ``what`` alone."""
        return int.from_bytes(blake2b(repr((self._seed, what)).encode(), digest_size=8).digest())


class Crowd:
    """A source of customers that are all different from one another."""

    def __init__(self, records: Sequence[Record], seed: int) -> None:
        self._records = sorted(records, key=lambda record: -len(record.events))
        self._seed = seed << 32
        self._taken = 0

    def customers(self, n_customers: int, n_events: int) -> list[Customer]:
        """Customers never handed out before, of the records that have ``n_events`` or else of the longest ones."""
        long_enough = sum(len(record.events) >= n_events for record in self._records)
        bases = self._records[: max(long_enough, FEWEST_BASES)]
        first, self._taken = self._taken, self._taken + n_customers
        return [Customer(bases[i % len(bases)], self._seed + i) for i in range(first, self._taken)]

    def cold(self, n_records: int, n_events: int) -> list[Record]:
        """Records of customers never seen before, each of exactly ``n_events`` events."""
        customers = self.customers(n_records, n_events)
        return [customer.window(customer.n_given, n_events) for customer in customers]


class Book:
    """Known customers who call again and again, a few of them much more often than most (Zipf-distributed)."""

    def __init__(self, customers: Sequence[Customer], n_events: int, seed: int) -> None:
        self.n_events = n_events
        self._customers = customers
        self._ends = [customer.n_given for customer in customers]
        self._weights = [rank**-ZIPF_EXPONENT for rank in range(1, len(customers) + 1)]
        self._random = random.Random(seed)

    def known(self) -> list[Record]:
        """What each customer sent last."""
        return [customer.window(end, self.n_events) for customer, end in zip(self._customers, self._ends, strict=True)]

    def calls(self, n_calls: int) -> list[Record]:
        """The next calls: each one event later than the same customer's last."""
        records = []
        for place in self._random.choices(range(len(self._customers)), self._weights, k=n_calls):
            self._ends[place] += 1
            records.append(self._customers[place].window(self._ends[place], self.n_events))
        return records


def introductions(records: Sequence[Record]) -> list[Record]:
    """Records that carry the identifying strings of ``records``, but none of their events."""
    strings = {
        (event.source, key, event.fields[key]): None
        for record in records
        for event in record.events
        for key in IDENTIFYING
        if key in event.fields
    }
    ts = max((event.ts for record in records for event in record.events), default=0)
    events = [Event(ts, source, {key: value}) for source, key, value in strings]
    starts = range(0, len(events), STRINGS_PER_RECORD)
    return [Record(events[start : start + STRINGS_PER_RECORD], "introduction", as_of=ts + 1) for start in starts]


def share_of_new_events(records: Iterable[Record]) -> float:
    """How many of the events that differ inside their history no earlier history of ``records`` holds."""
    seen: set[bytes] = set()
    total = 0
    for record in records:
        contents = {msgspec.json.encode((event.source, event.fields)) for event in record.events}
        total += len(contents)
        seen |= contents
    return len(seen) / total if total else 0.0


def to_json(record: Record) -> str:
    return msgspec.json.encode(record).decode("utf-8")
