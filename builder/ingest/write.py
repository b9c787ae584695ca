"""Writing the raw contract's files: events by customer and time, a profile per customer, labels by task."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.ingest.duplicates import LeftOut
from builder.ingest.load import ROW
from builder.ingest.mapping import Mapped
from builder.ingest.sql import text
from builder.ingest.tables import run

if TYPE_CHECKING:
    import duckdb

_PARQUET = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)"


def write_events(connection: "duckdb.DuckDBPyConnection", tables: Sequence[tuple[Mapped, LeftOut]], file: Path) -> None:
    """All tables' events in one file, sorted by customer, time, table and row; the same bytes for the same tables."""
    has_ids = any("event_id" in mapped.columns for mapped, _ in tables)
    parts = []
    for place, (mapped, left_out) in enumerate(tables):
        own = "event_id" if "event_id" in mapped.columns else "CAST(NULL AS VARCHAR) AS event_id"
        event_id = f", {own}" if has_ids else ""
        parts.append(
            f"SELECT user_id, ts, source, fields{event_id}, {place} AS place, {ROW} FROM {mapped.view} "
            f"ANTI JOIN {left_out.name} USING ({ROW}) WHERE bad IS NULL"
        )
    columns = "user_id, ts, source, fields" + (", event_id" if has_ids else "")
    rows = " UNION ALL ".join(parts)
    _copy(connection, f"SELECT {columns} FROM ({rows}) ORDER BY user_id, ts, place, {ROW}", file)


def write_profiles(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut, file: Path) -> None:
    """A row per customer; without a column ``as_of`` the moment of the newest event of all customers stands there."""
    good = f"SELECT * FROM {mapped.view} ANTI JOIN {left_out.name} USING ({ROW}) WHERE bad IS NULL"
    _copy(
        connection,
        "SELECT user_id, coalesce(as_of, (SELECT max(last_ts) FROM customers)) AS as_of, attributes, lifelong "
        f"FROM ({good}) ORDER BY user_id",
        file,
    )


def write_labels(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut, file: Path) -> None:
    """Labels by customer and moment."""
    columns = [name for name in ("user_id", "eval_ts", "ts", "label", "event_id") if name in mapped.columns]
    good = f"SELECT * FROM {mapped.view} ANTI JOIN {left_out.name} USING ({ROW}) WHERE bad IS NULL"
    file.parent.mkdir(exist_ok=True)
    _copy(connection, f"SELECT {', '.join(columns)} FROM ({good}) ORDER BY {columns[0]}, {columns[1]}, {ROW}", file)


def keep_customers(connection: "duckdb.DuckDBPyConnection", events: Path) -> None:
    """The table ``customers`` (user_id, n, first_ts, last_ts) of what was written."""
    run(
        connection,
        "CREATE TABLE customers AS SELECT user_id, count(*) AS n, min(ts) AS first_ts, max(ts) AS last_ts "
        f"FROM read_parquet({text(str(events))}) GROUP BY user_id",
        "customers",
    )


def _copy(connection: "duckdb.DuckDBPyConnection", select: str, file: Path) -> None:
    run(connection, f"COPY ({select}) TO {text(str(file))} {_PARQUET}", file.name)
