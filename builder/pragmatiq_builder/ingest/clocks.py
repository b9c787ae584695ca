"""Local times that clocks skip in spring, and those that come twice in autumn."""

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.sql import text
from pragmatiq_builder.ingest.times import TimeReader

if TYPE_CHECKING:
    import duckdb

SKIPPED = "does not exist there and is read as later by the hour that clocks skip"
TWICE = "comes twice there and is read as the later"


def count_doubtful(
    connection: "duckdb.DuckDBPyConnection", reader: TimeReader, table: str, column: str, where: str
) -> dict[str, int]:
    """How many of a column's local times are :data:`SKIPPED` and :data:`TWICE`; none of times that say their zone."""
    if reader.local is None or reader.zone is None:
        return {}
    # Bad rows, which no format reads, would take most of the time.
    local, zone = (reader.narrow or reader.local).replace("{0}", column), text(reader.zone)
    row = run(connection, f"SELECT min({local}), max({local}) FROM {table}", where).fetchone()
    days = _days_of_change(reader.zone, row[0], row[1]) if row and row[0] else []
    if not days:
        return {}
    utc = f"timezone({zone}, moment)"
    twice = " OR ".join(f"timezone({zone}, {utc} - INTERVAL {minutes} MINUTE) = moment" for minutes in (60, 30))
    # Only on these days zones are asked, which takes longer than reading the moments.
    found = run(
        connection,
        f"WITH moments AS MATERIALIZED (SELECT {local} AS moment FROM {table}) "
        f"SELECT count(*) FILTER (timezone({zone}, {utc}) <> moment), count(*) FILTER ({twice}) FROM moments "
        f"WHERE CAST(moment AS DATE) IN ({', '.join(f'DATE {text(str(day))}' for day in days)})",
        where,
    ).fetchone()
    return {what: n for what, n in zip((SKIPPED, TWICE), found or (), strict=True) if n}


def _days_of_change(zone: str, first: datetime, last: datetime) -> list[date]:
    """The days within which clocks of ``zone`` are put forward or back, of those from ``first`` to ``last``."""
    rules = ZoneInfo(zone)
    # Beyond these years nothing is plausible.
    day, end = max(first.date(), date(1900, 1, 1)), min(last.date(), date(2200, 1, 1))
    days = []
    while day <= end:
        midnight = datetime.combine(day, time(), rules)
        if midnight.utcoffset() != (midnight + timedelta(days=1)).utcoffset():
            days.append(day)
        day += timedelta(days=1)
    return days
