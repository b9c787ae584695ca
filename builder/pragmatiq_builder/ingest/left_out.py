"""Rows that are not written: bad ones, and those that are there more than once, of which the first stays."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.load import HASH, ROW
from pragmatiq_builder.ingest.mapping import Mapped
from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.sql import text
from pragmatiq_builder.raw.likeness import likeness

if TYPE_CHECKING:
    import duckdb

SAME = "duplicate: every column is that of an earlier row"
SAME_ID = "event_id again: an earlier row of the customer has it, with other values"
UNKNOWN = "unknown customer: no event has it"
CONTRADICTS = "contradictory label: the customer has the other label for the same moment"
OLDER = "older profile: the customer has one with a newer as_of, or a later row"
_MOST_COMPARED = 10_000


@dataclass(frozen=True)
class LeftOut:
    """DuckDB's table of rows that are not written: :data:`ROW`, and either ``bad``, the place of the check that they
    fail, or ``reason``."""

    name: str


def find_bad(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, number: int) -> LeftOut:
    """The table ``left_out_<number>`` with the rows that a check of ``mapped`` fails."""
    name = f"left_out_{number}"
    # Not materialized, the condition would be pushed down, and each moment be read three times.
    run(
        connection,
        f"CREATE TABLE {name} AS WITH checked AS MATERIALIZED (SELECT {ROW}, bad FROM {mapped.view}) "
        f"SELECT {ROW}, bad, CAST(NULL AS VARCHAR) AS reason FROM checked WHERE bad IS NOT NULL",
        mapped.loaded.where,
    )
    return LeftOut(name)


def leave_out_duplicates(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut) -> None:
    """Add the rows that an earlier good row equals in every column, or in its ``event_id``.

    A hash of all columns finds candidates, so that the table need not be sorted; candidates are compared in all that is
    mapped.
    """
    raw, where = mapped.loaded.name, mapped.loaded.where
    columns = ", ".join([HASH, *map(mapped.loaded.sql, mapped.loaded.kinds)])
    twice = f"SELECT {HASH} FROM {raw} GROUP BY {HASH} HAVING count(*) > 1"
    good = (
        f"SELECT {ROW}, {columns} FROM {raw} SEMI JOIN ({twice}) USING ({HASH}) ANTI JOIN {left_out.name} USING ({ROW})"
    )
    _leave_out(connection, left_out, SAME, _all_but_first(good, columns, ROW), where)
    if "event_id" in mapped.columns:
        good = f"SELECT {ROW}, user_id, event_id FROM {mapped.view} ANTI JOIN {left_out.name} USING ({ROW})"
        rows = _all_but_first(f"SELECT * FROM ({good}) WHERE event_id IS NOT NULL", "user_id, event_id", ROW)
        _leave_out(connection, left_out, SAME_ID, rows, where)


def leave_out_older(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut) -> None:
    """Of a customer's profiles all but the one with the newest ``as_of``, of those the last row."""
    good = f"SELECT {ROW}, user_id, as_of FROM {mapped.view} ANTI JOIN {left_out.name} USING ({ROW})"
    rows = _all_but_first(good, "user_id", f"as_of DESC NULLS LAST, {ROW} DESC")
    _leave_out(connection, left_out, OLDER, rows, mapped.loaded.where)


def leave_out_unknown(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut, known: str) -> None:
    """Rows whose ``user_id`` is not in the table ``known``."""
    good = f"SELECT {ROW}, user_id FROM {mapped.view} ANTI JOIN {left_out.name} USING ({ROW})"
    unknown = f"SELECT {ROW}, user_id FROM ({good}) ANTI JOIN {known} USING (user_id)"
    tell_alike(connection, mapped, unknown, known)
    _leave_out(connection, left_out, UNKNOWN, f"SELECT {ROW} FROM ({unknown})", mapped.loaded.where)


def leave_out_contradictions(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut) -> None:
    """Labels of which another one of the same customer, moment and event says the opposite: none is believed."""
    same = ", ".join(name for name in ("user_id", "eval_ts", "ts", "event_id") if name in mapped.columns)
    good = f"SELECT {ROW}, {same}, label FROM {mapped.view} ANTI JOIN {left_out.name} USING ({ROW})"
    rows = (
        f"SELECT {ROW} FROM (SELECT {ROW}, min(label) OVER same <> max(label) OVER same AS differ FROM ({good}) "
        f"WINDOW same AS (PARTITION BY {same})) WHERE differ"
    )
    _leave_out(connection, left_out, CONTRADICTS, rows, mapped.loaded.where)


def spelled_twice(connection: "duckdb.DuckDBPyConnection", known: str) -> list[str]:
    """A note if users of the table ``known`` differ in leading zeros, a ``.0``, spaces or capitals alone."""
    alike = "ltrim(regexp_replace(lower(trim(user_id)), '[.]0$', ''), '0')"
    row = run(
        connection,
        f"SELECT count(*), min([least, most]) FROM (SELECT min(user_id) AS least, max(user_id) AS most FROM {known} "
        f"GROUP BY {alike} HAVING count(*) > 1)",
        known,
    ).fetchone()
    if not row or not row[0]:
        return []
    least, most = row[1]
    return [
        f"{row[0]:,} customers may be written in several ways, such as {least!r} and {most!r}: they are read as "
        "different ones; write them alike if they are one"
    ]


def tell_alike(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, unknown: str, known: str) -> None:
    """A note if customers of the rows ``unknown`` (SQL) would be in the table ``known`` if they were written alike."""
    where = mapped.loaded.where
    query = f"SELECT DISTINCT user_id FROM ({unknown}) ORDER BY user_id LIMIT {_MOST_COMPARED}"
    names = [name for (name,) in run(connection, query, where).fetchall()]
    if not names:
        return
    others = (name for (name,) in run(connection, f"SELECT user_id FROM {known}", where).fetchall())
    if alike := likeness(names, others):
        mapped.notes.append(f"{where}: customers without events{alike}")


def _all_but_first(rows: str, same: str, order: str) -> str:
    numbered = f"SELECT {ROW}, row_number() OVER (PARTITION BY {same} ORDER BY {order}) AS n FROM ({rows})"
    return f"SELECT {ROW} FROM ({numbered}) WHERE n > 1"


def _leave_out(connection: "duckdb.DuckDBPyConnection", left_out: LeftOut, reason: str, rows: str, where: str) -> None:
    run(connection, f"INSERT INTO {left_out.name} SELECT {ROW}, NULL, {text(reason)} FROM ({rows})", where)
