"""Rows that are there more than once: the first stays, and the others are named."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.ingest.load import HASH, ROW
from builder.ingest.mapping import Mapped
from builder.ingest.tables import run

if TYPE_CHECKING:
    import duckdb

SAME = "duplicate: every column is that of an earlier row"
SAME_ID = "event_id again: an earlier row of the customer has it, with other values"
OLDER = "older profile: the customer has one with a newer as_of, or a later row"


@dataclass(frozen=True)
class LeftOut:
    """DuckDB's table of rows that are well read and yet not written: :data:`ROW`, ``reason``; and how many of each."""

    name: str
    counts: dict[str, int]


def find_duplicates(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, number: int, kept: bool) -> LeftOut:
    """The table ``left_out_<number>``; it is empty where duplicates are ``kept``.

    A hash of all columns finds candidates, so that the table need not be sorted; candidates are compared in all that is
    mapped.
    """
    name, where = f"left_out_{number}", mapped.loaded.where
    raw = mapped.loaded.name
    run(connection, f"CREATE TABLE {name} (_row BIGINT, reason VARCHAR)", where)
    if kept:
        return LeftOut(name, {})
    columns = ", ".join([HASH, *map(mapped.loaded.sql, mapped.loaded.kinds)])
    run(
        connection,
        f"INSERT INTO {name} SELECT {ROW}, '{SAME}' FROM (SELECT {ROW}, row_number() OVER (PARTITION BY {columns} "
        f"ORDER BY {ROW}) AS n FROM {raw} SEMI JOIN (SELECT {HASH} FROM {raw} GROUP BY {HASH} HAVING count(*) > 1) "
        f"USING ({HASH}) SEMI JOIN (SELECT {ROW} FROM {mapped.view} WHERE bad IS NULL) USING ({ROW})) WHERE n > 1",
        where,
    )
    if "event_id" in mapped.columns:
        good = f"SELECT {ROW}, user_id, event_id FROM {mapped.view} ANTI JOIN {name} USING ({ROW}) WHERE bad IS NULL"
        run(
            connection,
            f"INSERT INTO {name} SELECT {ROW}, '{SAME_ID}' FROM (SELECT {ROW}, row_number() OVER "
            f"(PARTITION BY user_id, event_id ORDER BY {ROW}) AS n FROM ({good}) WHERE event_id IS NOT NULL) "
            "WHERE n > 1",
            where,
        )
    return LeftOut(name, _counts(connection, name, where))


def keep_newest(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut) -> LeftOut:
    """Of a customer's profiles the one with the newest ``as_of``, of those the last row."""
    where = mapped.loaded.where
    good = f"SELECT {ROW}, user_id, as_of FROM {mapped.view} ANTI JOIN {left_out.name} USING ({ROW}) WHERE bad IS NULL"
    run(
        connection,
        f"INSERT INTO {left_out.name} SELECT {ROW}, '{OLDER}' FROM (SELECT {ROW}, row_number() OVER "
        f"(PARTITION BY user_id ORDER BY as_of DESC NULLS LAST, {ROW} DESC) AS n FROM ({good})) WHERE n > 1",
        where,
    )
    return LeftOut(left_out.name, _counts(connection, left_out.name, where))


def leave_out_unknown(
    connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut, known: str, reason: str
) -> LeftOut:
    """Rows whose ``user_id`` is not in the table ``known``."""
    where = mapped.loaded.where
    run(
        connection,
        f"INSERT INTO {left_out.name} SELECT {ROW}, '{reason}' FROM (SELECT {ROW}, user_id FROM {mapped.view} "
        f"ANTI JOIN {left_out.name} USING ({ROW}) WHERE bad IS NULL) ANTI JOIN {known} USING (user_id)",
        where,
    )
    return LeftOut(left_out.name, _counts(connection, left_out.name, where))


def _counts(connection: "duckdb.DuckDBPyConnection", name: str, where: str) -> dict[str, int]:
    rows = run(connection, f"SELECT reason, count(*) FROM {name} GROUP BY reason ORDER BY reason", where).fetchall()
    return dict(rows)
