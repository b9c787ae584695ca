"""Write a raw data folder as three flat CSV files, as a bank's export has them: they stand in for tables of one's own.

    python examples/flat_tables.py RAW OUT [--zone Europe/London]

``payments.csv`` (a row per event of the commonest source), ``customers.csv`` (a row per customer) and ``labels.csv``.
They have what exports have: local times, decimal commas, semicolons, ``yes`` and ``no``, a row in 200 twice, and a row
in 100 that is damaged: no customer, no such day, no number, or the end of the line missing.
"""

import argparse
import csv
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq

Row = Sequence[Any]


def write_flat_tables(raw: Path, out: Path, zone: ZoneInfo) -> list[Path]:
    """The three files, written."""
    out.mkdir(parents=True, exist_ok=True)
    tables = {
        "payments.csv": payments(raw, zone),
        "customers.csv": customers(raw, zone),
        "labels.csv": labels(raw, zone),
    }
    for name, rows in tables.items():
        with (out / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=";", lineterminator="\n").writerows(rows)
    return [out / name for name in tables]


def payments(raw: Path, zone: ZoneInfo) -> Iterator[Row]:
    """A row per event, with its number, and the damage."""
    events = pq.read_table(raw / "events.parquet").to_pylist()
    source, _ = Counter(event["source"] for event in events).most_common(1)[0]
    events = [event | {"fields": dict(event["fields"])} for event in events if event["source"] == source]
    names = list(dict.fromkeys(name for event in events for name in event["fields"]))
    amounts = [name for name in names if has_fractions(event["fields"].get(name) for event in events)]
    yield ["payment_no", "customer_no", "booked_at", *names]
    chance = random.Random(0)
    for number, event in enumerate(events):
        written = {name: decimal_comma(event["fields"].get(name)) for name in amounts}
        values = [(event["fields"] | written).get(name) for name in names]
        row = [f"P{number:07}", event["user_id"], local(event["ts"], zone), *values]
        yield damaged(row, names.index(amounts[0]) if amounts else None, chance) if chance.random() < 0.01 else row
        if chance.random() < 0.005:
            yield row


def damaged(row: list[Any], amount: int | None, chance: random.Random) -> Row:
    """One of four things that happen to rows."""
    kinds = ["no customer", "no such day", "cut off"] + ["no number"] * (amount is not None)
    match chance.choice(kinds):
        case "no customer":
            row[1] = ""
        case "no such day":
            row[2] = "31.02.2020 12:00:00"
        case "no number":
            assert amount is not None
            row[3 + amount] = "#VALUE!"
        case _:
            return row[:3]
    return row


def customers(raw: Path, zone: ZoneInfo) -> Iterator[Row]:
    """A row per customer: attributes, and milestones as local times."""
    rows = pq.read_table(raw / "profiles.parquet").to_pylist()
    attributes = list(dict.fromkeys(name for row in rows for name, _ in row["attributes"]))
    milestones = list(dict.fromkeys(stone["key"] for row in rows for stone in row["lifelong"]))
    yield ["customer_no", "snapshot", *attributes, *milestones]
    for row in rows:
        known = dict(row["attributes"])
        reached = {stone["key"]: local(stone["ts"], zone) for stone in row["lifelong"]}
        yield [
            row["user_id"],
            local(row["as_of"], zone),
            *(known.get(name) for name in attributes),
            *(reached.get(name) for name in milestones),
        ]


def labels(raw: Path, zone: ZoneInfo) -> Iterator[Row]:
    """A row per decision, of the first task whose labels have a moment of decision."""
    for file in sorted((raw / "labels").glob("*.parquet")):
        table = pq.read_table(file)
        if {"eval_ts", "label"} <= set(table.column_names):
            yield ["customer_no", "decided_at", file.stem]
            for row in table.to_pylist():
                yield [row["user_id"], local(row["eval_ts"], zone), "yes" if row["label"] else "no"]
            return
    raise SystemExit(f"{raw / 'labels'}: expected a parquet file with the columns user_id, eval_ts and label")


def local(moment: datetime, zone: ZoneInfo) -> str:
    return moment.replace(tzinfo=UTC).astimezone(zone).strftime("%d.%m.%Y %H:%M:%S")


def has_fractions(values: Iterable[str | None]) -> bool:
    """Whether all are numbers, and not all of them whole."""
    try:
        return any(float(value) % 1 for value in values if value)
    except ValueError:
        return False


def decimal_comma(value: str | None) -> str | None:
    """``1234.5`` as ``1.234,50``."""
    return None if value is None else f"{float(value):,.2f}".translate(str.maketrans(",.", ".,"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--zone", type=ZoneInfo, default=ZoneInfo("Europe/London"))
    arguments = parser.parse_args()
    for file in write_flat_tables(arguments.raw, arguments.out, arguments.zone):
        print(file)


if __name__ == "__main__":
    main()
