"""Whether labels are of events: their customers have events at their moments, or their ids are those of events."""

from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.facts import TableFacts
from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.sql import ident

if TYPE_CHECKING:
    import duckdb

Columns = tuple[TableFacts, str, str]
"""A table, and its columns of customers and moments."""


def share_at_events(connection: "duckdb.DuckDBPyConnection", labels: Columns, events: Columns) -> float:
    """The share of a sample of the labels of whose customer there is an event at just that moment.

    Moments of which only one column's way of reading is known are compared as they are written.
    """
    (table, _, _), (other, _, _) = labels, events
    are_read = all(facts.column(time).time for facts, _, time in (labels, events))
    found = run(
        connection,
        f"SELECT count(*) FILTER ((u, t) IN (SELECT (u, t) FROM ({_pairs(events, other.scan.sql, are_read)}))) "
        f"/ greatest(count(*), 1) FROM ({_pairs(labels, table.sample, are_read)})",
        table.pattern,
    ).fetchone()
    return float(found[0]) if found else 0.0


def _pairs(columns: Columns, rows: str, are_read: bool) -> str:
    facts, user, time = columns
    reader = facts.column(time).time
    moment = reader.of(ident(time)) if are_read and reader else f"trim(CAST({ident(time)} AS VARCHAR))"
    return (
        f"SELECT trim(CAST({facts.comparable(user)} AS VARCHAR)) AS u, {moment} AS t FROM {rows} "
        f"WHERE {ident(user)} IS NOT NULL AND {ident(time)} IS NOT NULL"
    )
