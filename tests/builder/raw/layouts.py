"""One small bank in every layout that parquet gets from pandas, Spark, databases and habit."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

US = pa.timestamp("us")
MAP = pa.map_(pa.string(), pa.string())
DAY = 86_400_000_000
START = 19_000 * DAY
USERS = ["17", "17", "17", "42", "42"]
TIMES = [START, START + DAY, START + 2 * DAY, START, START + 3 * DAY]
SOURCES = ["app", "card", "app", "card", "card"]
FIELDS: list[dict[str, str]] = [
    {"screen": "home"},
    {"amount": "12.5", "mcc": "5411"},
    {},
    {"amount": "7.0", "mcc": "4111"},
    {"amount": "-3.25", "mcc": "5411"},
]
AS_OF = START + 9 * DAY
ATTRIBUTES = [{"country": "GB", "age": "41"}, {"country": "FR"}]
MILESTONES = [{"opened": START - 400 * DAY, "born": -15 * 365 * DAY}, {}]
Tables = dict[str, pa.Table]


def pairs(rows: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    return [list(row.items()) for row in rows]


def base() -> Tables:
    lifelong = [[{"key": key, "ts": ts} for key, ts in row.items()] for row in MILESTONES]
    return {
        "events": pa.table(
            {
                "user_id": pa.array(USERS),
                "ts": pa.array(TIMES, US),
                "source": pa.array(SOURCES),
                "fields": pa.array(pairs(FIELDS), MAP),
            }
        ),
        "profiles": pa.table(
            {
                "user_id": pa.array(["17", "42"]),
                "as_of": pa.array([AS_OF] * 2, US),
                "attributes": pa.array(pairs(ATTRIBUTES), MAP),
                "lifelong": pa.array(lifelong, pa.list_(pa.struct([("key", pa.string()), ("ts", US)]))),
            }
        ),
        "labels/churn": pa.table(
            {
                "user_id": pa.array(["17", "42"]),
                "eval_ts": pa.array([START + 3 * DAY] * 2, US),
                "label": pa.array([1, 0], pa.int8()),
            }
        ),
    }


def put(table: pa.Table, name: str, values: Any, kind: pa.DataType | None = None) -> pa.Table:
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
    return table.set_column(table.schema.get_field_index(name), name, column)


@dataclass(frozen=True)
class Layout:
    """``write`` makes a raw folder; ``refused`` is what every command says of it, None where every command takes it.

    ``same``: it means exactly what the base means.
    """

    name: str
    write: Callable[[Path], None]
    refused: str | None = None
    same: bool = True


def write_tables(folder: Path, tables: Tables, **options: Any) -> None:
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, **{"row_group_size": 2, **options})


def column(
    name: str, file: str, column_name: str, values: Any, kind: pa.DataType | None = None, **expected: Any
) -> Layout:
    def write(folder: Path) -> None:
        tables = base()
        tables[file] = put(tables[file], column_name, values, kind)
        write_tables(folder, tables)

    return Layout(name, write, **expected)


def whole(name: str, change: Callable[[Tables], Any], options: dict[str, Any] | None = None, **expected: Any) -> Layout:
    def write(folder: Path) -> None:
        tables = base()
        change(tables)
        write_tables(folder, tables, **(options or {}))

    return Layout(name, write, **expected)


def dictionaries(strings: pa.Array) -> pa.Array:
    return strings.dictionary_encode()


def dictionary_map() -> pa.Array:
    maps = pa.array(pairs(FIELDS), MAP)
    return pa.MapArray.from_arrays(maps.offsets, dictionaries(maps.keys), dictionaries(maps.items))


def repeat(table: pa.Table, rows: list[int]) -> pa.Table:
    return table.take(pa.array(rows))


def all_users(kind: pa.DataType, convert: Callable[[str], Any]) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        for name, table in tables.items():
            users = [convert(user) for user in table["user_id"].to_pylist()]
            tables[name] = put(table, "user_id", users, kind)

    return change


def moments(unit: str, zone: str | None = None) -> pa.Array:
    return pa.array(TIMES, US).cast(pa.timestamp(unit, zone))


NUMBERS = [
    {"screen": "home"},
    {"amount": 12.5, "mcc": "5411"},
    {},
    {"amount": 7.0, "mcc": "4111"},
    {"amount": -3.25, "mcc": "5411"},
]
TYPED = [
    {key: float(row[key]) if key == "amount" else int(row[key]) if key == "mcc" else row[key] for key in row}
    for row in FIELDS
]
DATES = [dt.date(1970, 1, 1) + dt.timedelta(days=ts // DAY) for ts in TIMES]
OPENED = [
    {key: dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=ts) for key, ts in row.items()} for row in MILESTONES
]
LISTED = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
K_V = pa.list_(pa.struct([("k", pa.string()), ("v", pa.string())]))
NAME_VALUE = pa.large_list(pa.struct([("value", pa.string()), ("name", pa.string())]))

LAYOUTS: list[Layout] = [
    whole("the contract's own types", lambda tables: None),
    # Columns of dictionaries.
    column("a struct of strings", "events", "fields", FIELDS),
    column("a struct of numbers", "events", "fields", TYPED),
    column(
        "a struct with NaN for what is absent",
        "events",
        "fields",
        [{**{"amount": float("nan")}, **row} for row in NUMBERS],
    ),
    column(
        "list of structs",
        "events",
        "fields",
        [[{"key": k, "value": v} for k, v in row.items()] for row in FIELDS],
        LISTED,
    ),
    column(
        "list of structs k, v", "events", "fields", [[{"k": k, "v": v} for k, v in row.items()] for row in FIELDS], K_V
    ),
    column(
        "large list of structs, value first",
        "events",
        "fields",
        [[{"value": v, "name": k} for k, v in row.items()] for row in FIELDS],
        NAME_VALUE,
    ),
    column("list of pairs", "events", "fields", [[list(pair) for pair in row] for row in pairs(FIELDS)]),
    column("list of fixed pairs", "events", "fields", pairs(FIELDS), pa.list_(pa.list_(pa.string(), 2))),
    column(
        "map of doubles",
        "events",
        "fields",
        [[p for p in row if p[0] == "amount"] for row in pairs(NUMBERS)],
        pa.map_(pa.string(), pa.float64()),
        same=False,
    ),
    column("map of large strings", "events", "fields", pairs(FIELDS), pa.map_(pa.large_string(), pa.large_string())),
    column("map of string views", "events", "fields", pairs(FIELDS), pa.map_(pa.string_view(), pa.string_view())),
    column("map of bytes", "events", "fields", pairs(FIELDS), pa.map_(pa.binary(), pa.binary())),
    column("map of dictionaries over row groups", "events", "fields", dictionary_map()),
    column("no fields at all", "events", "fields", [None] * 5, pa.null(), same=False),
    column("empty lists", "events", "fields", [[]] * 5, same=False),
    column("some fields null", "events", "fields", [None, *pairs(FIELDS)[1:]], MAP, same=False),
    column("a value of a map null", "events", "fields", [[("screen", None)], *pairs(FIELDS)[1:]], MAP, same=False),
    column(
        "a struct of every scalar",
        "events",
        "fields",
        [{"b": True, "d": dt.date(2024, 1, 2), "t": dt.datetime(2024, 1, 2, 3), "n": Decimal("10.50"), "i": 3}] * 5,
        same=False,
    ),
    column("JSON text", "events", "fields", ['{"a": 1}'] * 5, refused="column fields is string, expected a map"),
    column(
        "a struct in a struct", "events", "fields", [{"a": {"b": 1}}] * 5, refused="its member 'a' is struct<b: int64>"
    ),
    column(
        "a list of strings", "events", "fields", [["a"]] * 5, refused="column fields is list<element: string>, expected"
    ),
    column(
        "a list of triples",
        "events",
        "fields",
        [[["a", "b"]], [["a", "b", "c"]], [], [], []],
        refused="row 1: fields holds a list that is no pair",
    ),
    column(
        "a list with a null pair",
        "events",
        "fields",
        [[], [["a", "b"], None], [], [], []],
        refused="row 1: fields holds null in place of a pair",
    ),
    column(
        "a null key in a list of pairs",
        "events",
        "fields",
        [[], [["a", "b"], [None, "c"]], [], [], []],
        refused="row 1: fields holds a key that is null",
    ),
    column(
        "a key twice",
        "events",
        "fields",
        [[("a", "1"), ("a", "2")], [], [], [], []],
        MAP,
        refused="row 0: fields holds a key twice",
    ),
    column(
        "latin-1 in values",
        "events",
        "fields",
        [[(b"a", b"caf\xe9")], [], [], [], []],
        pa.map_(pa.binary(), pa.binary()),
        refused="row 0: fields holds a value that is no UTF-8",
    ),
    column(
        "a list of numbers in a map",
        "events",
        "fields",
        [[("a", [1.0])]] * 5,
        pa.map_(pa.string(), pa.list_(pa.float64())),
        refused="its values are list<element: double>",
    ),
    # Users.
    whole("users as int64", all_users(pa.int64(), int)),
    whole("users as int32", all_users(pa.int32(), int)),
    whole("users as decimals", all_users(pa.decimal128(38, 0), Decimal)),
    whole("users as large strings", all_users(pa.large_string(), str)),
    whole("users as string views", all_users(pa.string_view(), str)),
    whole("users as bytes", all_users(pa.binary(), str.encode)),
    whole("users as dictionaries", all_users(pa.dictionary(pa.int32(), pa.string()), str)),
    whole(
        "users as floats",
        all_users(pa.float64(), float),
        refused="column user_id is double, expected a string or an integer",
    ),
    column("a user missing", "events", "user_id", [None, *USERS[1:]], refused="row 0: user_id is null"),
    column(
        "a user in two places",
        "events",
        "user_id",
        ["17", "42", "17", "42", "42"],
        refused="row 2: user comes back after another user's rows",
    ),
    column("users that are no UTF-8", "events", "user_id", [b"\xff"] * 5, refused="row 0: user_id is not UTF-8"),
    # Times.
    column("dates", "events", "ts", DATES, pa.date32()),
    column("date64", "events", "ts", DATES, pa.date64()),
    column("seconds in a zone", "events", "ts", moments("s", "Europe/London")),
    column("nanoseconds", "events", "ts", moments("ns", "UTC")),
    whole("INT96", lambda tables: None, {"use_deprecated_int96_timestamps": True}),
    column(
        "times as int64",
        "events",
        "ts",
        TIMES,
        pa.int64(),
        refused="column ts is int64, expected a timestamp or a date",
    ),
    column("times as doubles", "events", "ts", [float(ts) for ts in TIMES], refused="column ts is double, expected"),
    column("times as strings", "events", "ts", [str(date) for date in DATES], refused="column ts is string, expected"),
    column("a time missing", "events", "ts", [*TIMES[:4], None], US, refused="row 4: ts is null"),
    column("times of all null", "events", "ts", [None] * 5, refused="row 0: ts is null"),
    column(
        "a time in the year 9999", "events", "ts", [*TIMES[:2], 253_402_214_400 * 10**6, *TIMES[3:]], US, same=False
    ),
    column("as_of as dates", "profiles", "as_of", [DATES[0] + dt.timedelta(days=9)] * 2, pa.date32()),
    column("as_of as strings", "profiles", "as_of", ["2022-01-01"] * 2, refused="column as_of is string, expected"),
    column("as_of null", "profiles", "as_of", [None, AS_OF], US, same=False),
    column("as_of all null", "profiles", "as_of", [None, None], same=False),
    # Sources.
    column("a source missing", "events", "source", [None, *SOURCES[1:]], same=False),
    column("sources as dictionaries", "events", "source", dictionaries(pa.array(SOURCES))),
    column("sources as numbers", "events", "source", [1, 2, 1, 2, 2], same=False),
    column("sources as booleans", "events", "source", [True] * 5, refused="column source is bool, expected a string"),
    # Profiles.
    column("attributes as a struct", "profiles", "attributes", [{"country": "GB", "age": 41}, {"country": "FR"}]),
    column("attributes null", "profiles", "attributes", [None, None], same=False),
    column("attributes as JSON", "profiles", "attributes", ["{}", "{}"], refused="column attributes is string"),
    column("milestones as a map", "profiles", "lifelong", pairs(MILESTONES), pa.map_(pa.string(), US)),
    column("milestones as a struct", "profiles", "lifelong", OPENED),
    column(
        "milestones in a zone",
        "profiles",
        "lifelong",
        pairs(MILESTONES),
        pa.map_(pa.string(), pa.timestamp("us", "UTC")),
    ),
    column(
        "milestones as dates",
        "profiles",
        "lifelong",
        [[(key, dt.date(1970, 1, 1) + dt.timedelta(days=ts // DAY)) for key, ts in row.items()] for row in MILESTONES],
        pa.map_(pa.string(), pa.date32()),
    ),
    column("milestones all null", "profiles", "lifelong", [None, None], same=False),
    column("milestones all empty", "profiles", "lifelong", [[], []], same=False),
    column(
        "a milestone without a key",
        "profiles",
        "lifelong",
        [[], [{"key": None, "ts": dt.datetime(2020, 1, 1)}]],
        refused="row 1: lifelong holds a key that is null",
    ),
    column(
        "a milestone without a time",
        "profiles",
        "lifelong",
        [[("opened", None)], []],
        pa.map_(pa.string(), US),
        refused="row 0: a lifelong ts is null",
    ),
    column(
        "a milestone that is null",
        "profiles",
        "lifelong",
        [[None, {"key": "a", "ts": dt.datetime(2020, 1, 1)}], []],
        refused="row 0: lifelong holds",
    ),
    column(
        "a milestone in 1955",
        "profiles",
        "lifelong",
        [[("born", dt.datetime(1955, 3, 4))], []],
        pa.map_(pa.string(), US),
        same=False,
    ),
    column(
        "milestones without times",
        "profiles",
        "lifelong",
        [["a"], []],
        refused="column lifelong is list<element: string>",
    ),
    column(
        "milestones with more than a key and a time",
        "profiles",
        "lifelong",
        [[{"key": "opened", "ts": dt.datetime(2020, 1, 1), "branch": "x"}], []],
        refused="its structs have key, ts, branch; expected a list of structs of key and ts",
    ),
    column(
        "profiles of other users",
        "profiles",
        "user_id",
        ["z1", "z2"],
        refused="no user with events has a profile",
    ),
    column(
        "milestones of numbers",
        "profiles",
        "lifelong",
        [[("a", 1)], []],
        pa.map_(pa.string(), pa.int64()),
        refused="column lifelong is map<string, int64",
    ),
    whole(
        "profiles of nobody else", lambda tables: tables.update(profiles=repeat(tables["profiles"], [0])), same=False
    ),
    whole(
        "a profile twice",
        lambda tables: tables.update(profiles=repeat(tables["profiles"], [0, 0])),
        refused="row 1: second profile of a user",
    ),
    whole("no profiles", lambda tables: tables.pop("profiles"), same=False),
    whole("profiles without rows", lambda tables: tables.update(profiles=tables["profiles"].slice(0, 0)), same=False),
    whole(
        "profiles of users alone",
        lambda tables: tables.update(profiles=tables["profiles"].select(["user_id"])),
        same=False,
    ),
    whole(
        "profiles without users",
        lambda tables: tables.update(profiles=tables["profiles"].drop(["user_id"])),
        refused="no column user_id",
    ),
    # Tables.
    whole("no events", lambda tables: tables.pop("events"), refused="events.parquet: no such file"),
    whole(
        "events without rows",
        lambda tables: tables.update(events=tables["events"].slice(0, 0)),
        refused="has no events",
    ),
    whole(
        "events without columns",
        lambda tables: tables.update(events=tables["events"].select([])),
        refused="no column user_id",
    ),
    whole(
        "events without sources",
        lambda tables: tables.update(events=tables["events"].drop(["source"])),
        refused="no column source",
    ),
    whole(
        "fields as columns",
        lambda tables: tables.update(events=tables["events"].rename_columns(["user_id", "ts", "source", "amount"])),
        refused="no column fields (a map, a struct, or a list of pairs of key and value), got amount beside",
    ),
    whole(
        "a column twice",
        lambda tables: tables.update(events=tables["events"].append_column("ts", tables["events"]["ts"])),
        refused="column ts is there 2 times",
    ),
    whole(
        "columns beside those of the contract",
        lambda tables: tables.update(events=tables["events"].append_column("note", pa.array(["x"] * 5))),
    ),
    whole("events out of order", lambda tables: tables.update(events=repeat(tables["events"], [2, 0, 1, 4, 3]))),
]
