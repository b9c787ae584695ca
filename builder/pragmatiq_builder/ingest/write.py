"""Writing the raw contract's files: events by customer and time, a profile per customer, labels by task."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.left_out import LeftOut
from pragmatiq_builder.ingest.load import ROW
from pragmatiq_builder.ingest.mapping import Mapped
from pragmatiq_builder.ingest.queries import Steps, run
from pragmatiq_builder.ingest.sql import parquet, text
from pragmatiq_builder.ingest.values import Entry, map_of

if TYPE_CHECKING:
    import duckdb

_TYPES = {"event_id": "VARCHAR", "all_of": "MAP(VARCHAR, VARCHAR)"}
_PARQUET = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)"


def write_events(
    connection: "duckdb.DuckDBPyConnection", tables: Sequence[tuple[Mapped, LeftOut]], file: Path, steps: Steps
) -> None:
    """All tables' events in one file, sorted by customer, time, table and row; the same bytes for the same tables."""
    optional = [name for name in ("event_id", "all_of") if any(name in mapped.columns for mapped, _ in tables)]
    width = max(len(mapped.entries) for mapped, _ in tables)
    parts = []
    for place, (mapped, left_out) in enumerate(tables):
        columns = [
            "user_id", "ts", "source", f"{place} AS place", ROW,
            *(f"f{at}" if at < len(mapped.entries) else f"CAST(NULL AS VARCHAR) AS f{at}" for at in range(width)),
            *(name if name in mapped.columns else f"CAST(NULL AS {_TYPES[name]}) AS {name}" for name in optional),
        ]  # fmt: skip
        rows = f"SELECT {', '.join(columns)} FROM {mapped.view}"
        parts.append(f"{rows} ANTI JOIN {left_out.name} USING ({ROW})")
    # Maps are made of sorted rows: to sort maps takes three times as long.
    maps = [_map(mapped) for mapped, _ in tables]
    fields = (
        maps[0] if len(maps) == 1 else f"CASE place {' '.join(f'WHEN {at} THEN {m}' for at, m in enumerate(maps))} END"
    )
    event_id = ", event_id" if "event_id" in optional else ""
    _copy(
        connection,
        f"SELECT user_id, ts, source, {fields} AS fields{event_id} FROM ({' UNION ALL '.join(parts)}) "
        f"ORDER BY user_id, ts, place, {ROW}",
        file,
        steps,
    )


def _map(mapped: Mapped) -> str:
    entries = [Entry(entry.name, f"f{at}") for at, entry in enumerate(mapped.entries)]
    return map_of(entries, "all_of" if "all_of" in mapped.columns else None)


def write_profiles(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut, file: Path) -> None:
    """A row per customer."""
    good = f"SELECT * FROM {mapped.view} ANTI JOIN {left_out.name} USING ({ROW})"
    _copy(
        connection,
        f"SELECT user_id, as_of, attributes, lifelong FROM ({good}) ORDER BY user_id",
        file,
    )


def write_labels(connection: "duckdb.DuckDBPyConnection", mapped: Mapped, left_out: LeftOut, file: Path) -> None:
    """Labels by customer and moment."""
    columns = [name for name in ("user_id", "eval_ts", "ts", "label", "event_id") if name in mapped.columns]
    good = f"SELECT * FROM {mapped.view} ANTI JOIN {left_out.name} USING ({ROW})"
    file.parent.mkdir(exist_ok=True)
    _copy(connection, f"SELECT {', '.join(columns)} FROM ({good}) ORDER BY {columns[0]}, {columns[1]}, {ROW}", file)


def keep_customers(connection: "duckdb.DuckDBPyConnection", events: Path) -> None:
    """The table ``customers`` (user_id, and n, its events) of what was written."""
    run(
        connection,
        f"CREATE TABLE customers AS SELECT user_id, count(*) AS n FROM {parquet(events)} GROUP BY user_id",
        "customers",
    )


def _copy(connection: "duckdb.DuckDBPyConnection", select: str, file: Path, steps: Steps | None = None) -> None:
    run(connection, f"COPY ({select}) TO {text(str(file))} {_PARQUET}", file.name, steps)
