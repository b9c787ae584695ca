"""Tables in every form: text in odd dialects and encodings, parquet, JSON, Arrow, folders, patterns, queries."""

import bz2
import gzip
import sqlite3

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pragmatiq_triton.errors import ConfigError, DataError
from tests.builder.ingest.conftest import CARDS, Said

ROWS = "user,at,amount\nc1,2025-01-01,1\nc2,2025-01-02,2\n"

LINES = b'{"user":"c1","at":"2025-01-01","amount":1}\n{"amount":2,"at":"2025-01-02","user":"c2"}'


def table():
    return pa.table({"user": ["c1", "c2"], "at": ["2025-01-01", "2025-01-02"], "amount": [1, 2]})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cards.csv", ROWS.encode()),
        ("cards.csv", ROWS.replace("\n", "\r\n").encode()),
        ("cards.csv", ROWS.rstrip("\n").encode()),
        ("cards.csv", b"\xef\xbb\xbf" + ROWS.encode()),
        ("cards.csv", ROWS.encode("utf-16")),
        ("cards.csv", ROWS.replace(",", ";").encode()),
        ("cards.tsv", ROWS.replace(",", "\t").encode()),
        ("cards.txt", ROWS.replace(",", "|").encode()),
        ("cards.csv.gz", gzip.compress(ROWS.encode())),
        ("cards.csv.zst", pa.compress(ROWS.encode(), "zstd", asbytes=True)),
        ("cards.csv.gz", gzip.compress(ROWS.encode("utf-16"))),
        ("cards.csv", b'"user","at","amount"\n"c1","2025-01-01","1"\n"c2","2025-01-02","2"\n'),
        ("cards.csv", ROWS.encode() + b"\n\n"),
        ("cards.jsonl", LINES),
        ("cards.json", b'[{"user":"c1","at":"2025-01-01","amount":1},{"user":"c2","at":"2025-01-02","amount":2}]'),
        ("cards.jsonl.gz", gzip.compress(LINES)),
    ],
)  # fmt: skip
def test_text_tables(tables, name, content):
    (tables.folder / name).write_bytes(content)
    tables.ingest(events=[CARDS | {"table": name}])
    assert [(row["user_id"], row["fields"]) for row in tables.events()] == [
        ("c1", {"amount": "1"}),
        ("c2", {"amount": "2"}),
    ]
    assert tables.rejected() == []


@pytest.mark.parametrize(
    ("content", "memo"),
    [
        (b'c1,2025-01-01,"two\nlines"', "two\nlines"),
        (b'c1,2025-01-01,"a ""quoted"" word"', 'a "quoted" word'),
        (b'c1,2025-01-01,"a, b"', "a, b"),
        (b"c1,2025-01-01,'a", "'a"),
        (b"c1,2025-01-01,\xc3\xa4", "ä"),
        (b"c1,2025-01-01,\xe4", "ä"),
        (b"c1,2025-01-01,\x80 5", "€ 5"),
    ],
)
def test_texts_within_text_tables(tables, content, memo):
    (tables.folder / "cards.csv").write_bytes(b"user,at,memo\n" + content + b"\n")
    tables.ingest(events=[CARDS | {"fields": ["memo"]}])
    assert [row["fields"]["memo"] for row in tables.events()] == [memo]


def test_an_encoding_that_is_guessed_is_said_and_one_that_is_set_obeyed(tables):
    tables.write("cards.csv", "user,at,amount\nc1,2025-01-01,Łódź\n", "iso8859-2")
    said = Said()
    tables.ingest(progress=said)
    assert "events[0]: cards.csv is read as cp1252; csv: {encoding: ...} names another" in said.lines
    tables.ingest(events=[CARDS | {"csv": {"encoding": "iso8859-2"}}])
    assert tables.amounts() == ["Łódź"]
    with pytest.raises(ConfigError, match=r"csv.encoding: expected one that Python knows"):
        tables.ingest(events=[CARDS | {"csv": {"encoding": "klingon"}}])


def test_text_tables_without_names(tables):
    tables.write("cards.csv", "# made on a Monday\nc1;2025-01-01;5\nc2;2025-01-02;6\n")
    with pytest.raises(ConfigError, match=r"looks like a row and not like names of columns .* csv: \{header: false\}"):
        tables.ingest(events=[CARDS | {"csv": {"skip": 1}}])
    event = CARDS | {"user": "column0", "time": "column1", "fields": {"amount": "column2"}}
    tables.ingest(events=[event | {"csv": {"skip": 1, "header": False}}])
    assert tables.amounts() == ["5", "6"]


def test_bad_lines_are_named_by_line(tables):
    tables.write("cards.csv", 'user,at,amount\nc1,2025-01-01,1\nc1,2025-01-02\nc1,2025-01-03,1,2,3\nc1,2025-01-04,"4\n')
    tables.ingest()
    assert tables.amounts() == ["1"]
    assert [(row["line"], row["reason"]) for row in tables.rejected()] == [
        ("3", "no row: missing columns"),
        ("4", "no row: too many columns"),
        ("5", "no row: unquoted value"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"user,user\n1,2\n", "the column 'user' is there twice"),
        (b"\x1f\x8b\x08\x00broken", "cannot be read"),
    ],
)
def test_text_tables_that_cannot_be_read(tables, content, said):
    (tables.folder / "cards.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        tables.ingest()


def test_files_of_one_table_have_the_same_columns(tables):
    tables.write("in/a.csv", ROWS)
    tables.write("in/b.csv", "user,at,sum\nc3,2025-01-03,3\n")
    with pytest.raises(DataError, match=r"b.csv has other columns than a.csv: user, at, sum"):
        tables.ingest(events=[CARDS | {"table": "in/*.csv"}])


def test_parquet_in_files_folders_and_partitions(tables):
    pq.write_table(table(), tables.folder / "cards.parquet")
    tables.ingest(events=[CARDS | {"table": "cards.parquet"}])
    one = tables.events()
    spark = tables.folder / "spark"
    spark.mkdir()
    pq.write_table(table().slice(0, 1), spark / "part-00000.snappy.parquet")
    pq.write_table(table().slice(1).drop(["amount"]), spark / "part-00001.snappy.parquet")
    (spark / "_SUCCESS").write_bytes(b"")
    (spark / ".part-00000.crc").write_bytes(b"x")
    tables.ingest(events=[CARDS | {"table": "spark"}])
    assert tables.amounts() == ["1", None]
    kinds = table().append_column("kind", pa.array(["card", "wire"]))
    hive = {"format": "parquet", "partitioning": ["kind"], "partitioning_flavor": "hive"}
    ds.write_dataset(kinds, tables.folder / "hive", **hive)
    tables.ingest(events=[CARDS | {"table": "hive", "source": {"column": "kind"}}])
    assert [row["source"] for row in tables.events()] == ["card", "wire"]
    assert [row | {"source": "card"} for row in tables.events()] == one


@pytest.mark.parametrize("name", ["cards.arrow", "cards.feather", "nameless"])
def test_arrow(tables, name):
    with pa.OSFile(str(tables.folder / name), "wb") as file, pa.ipc.new_file(file, table().schema) as writer:
        writer.write_table(table())
    tables.ingest(events=[CARDS | {"table": name}])
    assert tables.amounts() == ["1", "2"]


def test_a_format_that_nothing_tells_is_asked_for(tables):
    tables.write("cards.dat", ROWS)
    with pytest.raises(ConfigError, match="add format: csv, json, parquet or arrow"):
        tables.ingest(events=[CARDS | {"table": "cards.dat"}])
    tables.ingest(events=[CARDS | {"table": "cards.dat", "format": "csv"}])
    assert tables.amounts() == ["1", "2"]


@pytest.mark.parametrize("name", ["cards.parquet", "cards.arrow", "cards.json"])
def test_damaged_tables_are_one_line(tables, name):
    (tables.folder / name).write_bytes(b"[garbage" * 50)
    with pytest.raises(DataError, match=r"events\[0\]: cards"):
        tables.ingest(events=[CARDS | {"table": name}])
    assert not tables.out.exists()


QUERY = 'SELECT who AS customer, "at", amount / 100.0 AS amount FROM payments ORDER BY 2'

BY_QUERY = {key: value for key, value in CARDS.items() if key != "table"} | {"user": "customer"}


def test_a_query_on_sqlite(tables):
    with sqlite3.connect(tables.folder / "bank.db") as database:
        database.execute("CREATE TABLE payments (who TEXT, at TEXT, amount INTEGER)")
        database.executemany(
            "INSERT INTO payments VALUES (?, ?, ?)", [("c1", "2025-01-01", 150), ("c2", "2025-01-02", 5)]
        )
    query = BY_QUERY | {"query": QUERY}
    tables.ingest(events=[query | {"database": "bank.db"}])
    assert tables.amounts() == ["1.5", "0.05"]
    with pytest.raises(DataError, match=r"query on bank.db: .*nothing"):
        tables.ingest(events=[query | {"database": "bank.db", "query": "SELECT * FROM nothing"}])
    with pytest.raises(ConfigError, match="there is no file"):
        tables.ingest(events=[query | {"database": "none.db"}])


def test_a_query_on_duckdb_and_on_files(tables):
    with duckdb.connect(str(tables.folder / "bank.duckdb")) as database:
        database.execute("CREATE TABLE payments AS SELECT 'c1' AS who, DATE '2025-01-01' AS at, 150 AS amount")
    tables.ingest(events=[BY_QUERY | {"query": QUERY, "database": "bank.duckdb"}])
    assert tables.amounts() == ["1.5"]
    tables.write("cards.csv", ROWS)
    tables.ingest(
        events=[BY_QUERY | {"user": "user", "query": f"SELECT * FROM '{tables.folder}/cards.csv' WHERE amount > 1;"}]
    )
    assert tables.amounts() == ["2"]


def test_what_duckdb_says_of_a_condition_is_one_line(tables):
    tables.write("cards.csv", ROWS)
    with pytest.raises(DataError, match=r"events\[0\]: .*nothing") as raised:
        tables.ingest(events=[CARDS | {"where": "nothing > 1"}])
    assert "\n" not in str(raised.value)


def test_bz2_is_not_read_as_text(tables):
    (tables.folder / "cards.csv.bz2").write_bytes(bz2.compress(ROWS.encode()))
    with pytest.raises((ConfigError, DataError), match=r"cards.csv.bz2"):
        tables.ingest(events=[CARDS | {"table": "cards.csv.bz2"}])


@pytest.mark.parametrize(
    "ends", [("\r\n", "\n", "\n"), ("\n", "\r\n", "\r\n"), ("\r\n", "\r\n", "\n"), ("\n", "\n", "\r\n")]
)
def test_lines_that_end_otherwise_than_the_first_ones_are_read(ends, tables):
    title, head, row = ends
    rows = "".join(f"c{at},2025-01-{at + 1:02},{at}{row}" for at in range(9))
    tables.write("cards.csv", f"Payments{title}user,at,amount{head}{rows}")
    report = tables.ingest(events=[CARDS | {"csv": {"skip": 1}}])
    assert tables.amounts() == [str(at) for at in range(9)]
    assert any("CRLF" in note for note in report.tables[0].notes)
    (field,) = report.fields
    assert (field.least, field.most) == (0, 8)
