"""Values as text: numbers as they are written in different countries, and what counts as missing."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builder.ingest.conftest import CARDS


@pytest.mark.parametrize(
    ("written", "decimal", "thousands", "number"),
    [
        ("12,50", ",", "", "12.50"),
        ("1.234.567,5", ",", ".", "1234567.5"),
        ("1 234,5", ",", " ", "1234.5"),
        ("1\u00a0234,5", ",", " ", "1234.5"),
        ("1'234.5", ".", "'", "1234.5"),
        ("1,234,567", ".", ",", "1234567"),
        ("-3,5", ",", "", "-3.5"),
        ("- 3,5", ",", "", "-3.5"),
        ("3,5-", ",", "", "-3.5"),
        ("3,5+", ",", "", "3.5"),
        ("+3,5", ",", "", "3.5"),
        ("(3,5)", ",", "", "-3.5"),
        (",5", ",", "", ".5"),
        ("1e3", ".", "", "1e3"),
        ("1,5E-7", ",", "", "1.5E-7"),
        ("-1e-7", ".", "", "-1e-7"),
        (" 7 ", ".", "", "7"),
        ("12.50", ",", "", None),
        ("12.50", ",", ".", None),
        ("1.23.456", ",", ".", None),
        ("1,2,3", ",", "", None),
        ("12 EUR", ",", "", None),
        ("--3", ",", "", None),
        ("-(3)", ",", "", None),
        ("nan", ".", "", None),
        ("0x10", ".", "", None),
    ],
)
def test_written_numbers(tables, written, decimal, thousands, number):
    tables.cards(f'c1,2025-01-01,"{written}"', "c2,2025-01-01,")
    amount = {"column": "amount", "decimal": decimal, "thousands": thousands}
    tables.ingest(events=[CARDS | {"fields": {"amount": amount}}])
    assert tables.amounts() == ([number, None] if number else [None])
    assert tables.reasons() == ([] if number else [("0", "not a number")])


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([1.5, math.nan, math.inf, None]), ["1.5", None, None, None]),
        (pa.array([True, False, None, True]), ["true", "false", None, "true"]),
        (pa.array(["", "x", None, " y "]), [None, "x", None, " y "]),
        (pa.array([1, 2, None, 2**60]), ["1", "2", None, str(2**60)]),
        (pa.array([["a"], [], None, ["b", "c"]]), ['["a"]', "[]", None, '["b","c"]']),
        (pa.array(["a", "b", None, "a"]).dictionary_encode(), ["a", "b", None, "a"]),
    ],
)
def test_typed_values(tables, column, texts):
    table = pa.table({"user": ["c1", "c2", "c3", "c4"], "at": ["2025-01-01"] * 4, "amount": column})
    pq.write_table(table, tables.folder / "cards.parquet")
    tables.ingest(events=[CARDS | {"table": "cards.parquet"}])
    assert tables.amounts() == texts


def test_customers_that_a_float_column_holds(tables):
    users = pa.array([7.0, 123456789012.0, None, 1.5])
    pq.write_table(
        pa.table({"user": users, "at": ["2025-01-01"] * 4, "amount": ["1"] * 4}), tables.folder / "cards.parquet"
    )
    tables.ingest(events=[CARDS | {"table": "cards.parquet"}])
    assert [row["user_id"] for row in tables.events()] == ["123456789012", "7"]
    assert tables.reasons() == [("2", "no customer"), ("3", "no customer")]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[("a", "1"), ("b", None)], [], None], pa.map_(pa.string(), pa.string())),
        pa.array(
            [{"a": "1", "b": None}, {"a": "", "b": None}, None], pa.struct([("a", pa.string()), ("b", pa.string())])
        ),
        pa.array([[{"key": "a", "value": 1}], [], None]),
        pa.array([[{"name": "a", "value": "1"}], [{"name": "a", "value": ""}], None]),
    ],
)
def test_a_column_that_holds_all_fields(tables, column):
    table = pa.table({"user": ["c1", "c2", "c3"], "at": ["2025-01-01"] * 3, "amount": [5, 6, None], "all": column})
    pq.write_table(table, tables.folder / "cards.parquet")
    tables.ingest(events=[CARDS | {"table": "cards.parquet", "fields": {"*": "all", "amount": "amount"}}])
    assert [row["fields"] for row in tables.events()] == [{"a": "1", "amount": "5"}, {"amount": "6"}, {}]
