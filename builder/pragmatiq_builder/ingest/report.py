"""What became of the rows: counts by reason, and what the events hold by source and field."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.sql import parquet
from pragmatiq_builder.ingest.values import is_text
from pragmatiq_triton.errors import DataError

if TYPE_CHECKING:
    import duckdb

FILE = "ingest.json"
_EXAMPLES = 3


class TableReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a table's rows.

    Attributes:
        where: the setting, as ``events[0]``.
        table: the files or the query.
        read: rows and lines that were there, without those that ``where`` leaves out.
        left_out: rows that ``where`` leaves out.
        written: rows that the raw data have.
        rejected: the others, by reason.
        times: how each column of moments was read.
        notes: what was found out or read with a doubt.
    """

    where: str
    table: str
    read: int
    left_out: int
    written: int
    rejected: dict[str, int]
    times: dict[str, str] = {}
    notes: list[str] = []


class FieldReport(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a source: ``kind`` number, text or category; ``missing`` is a share of the source's events.

    ``least`` and ``most`` are of numbers; None for other kinds.
    """

    source: str
    field: str
    kind: str
    missing: float
    distinct: int
    least: float | None
    most: float | None
    examples: list[str]


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a source, and when the first and the last were."""

    source: str
    events: int
    customers: int
    first: str
    last: str


class IngestReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it; ``ingest.json`` beside the data.

    Attributes:
        tables: each table's rows.
        sources: each source's events.
        fields: each field of each source.
        customers: how many have events.
        events_per_customer: the least, the quartiles and the most.
        customers_without_profile: customers with events and without a profile; None without a table of profiles.
        profiles_without_events: the other way round.
        labels: by task the number of labels, and of those that are 1.
        by_month: events of each month, for the plot.
        histogram: customers by their number of events: up to 1, 2, 4, 8, ...
        rejected: how many rows are in the reject file.
    """

    tables: list[TableReport]
    sources: list[SourceReport] = []
    fields: list[FieldReport] = []
    customers: int = 0
    events_per_customer: list[int] = []
    customers_without_profile: int | None = None
    profiles_without_events: int | None = None
    labels: dict[str, list[int]] = {}
    by_month: dict[str, int] = {}
    histogram: dict[int, int] = {}
    rejected: int = 0

    @property
    def events(self) -> int:
        """Events that were written."""
        return sum(source.events for source in self.sources)

    def to_json(self) -> bytes:
        """What ``ingest.json`` holds."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


class LimitsExceededError(DataError):
    """More rows are bad, double or of unknown customers than the limits allow; nothing was written but the rejects."""

    def __init__(self, exceeded: list[str], report: IngestReport, rejects: Path) -> None:
        super().__init__(
            f"{'; '.join(exceeded)}; nothing was written; the rows are in {rejects}: mend the tables or ingest.yaml, "
            "or raise the limits there"
        )
        self.report = report


def source_reports(connection: "duckdb.DuckDBPyConnection", events: Path) -> list[SourceReport]:
    """Each source of the written events, by name."""
    rows = _rows(
        connection,
        "SELECT source, count(*), count(DISTINCT user_id), min(ts), max(ts) "
        f"FROM {parquet(events)} GROUP BY source ORDER BY source",
    )
    return [
        SourceReport(source=source, events=n, customers=users, first=first.isoformat(), last=last.isoformat())
        for source, n, users, first, last in rows
    ]


def field_reports(
    connection: "duckdb.DuckDBPyConnection", events: Path, sources: list[SourceReport]
) -> list[FieldReport]:
    """Each field of each source; examples are the most frequent values."""
    counts = {source.source: source.events for source in sources}
    rows = _rows(
        connection,
        "WITH pairs AS (SELECT source, unnest(map_entries(fields), recursive := true) FROM "
        f"{parquet(events)}), valued AS (SELECT source, key, value, count(*) AS n FROM pairs GROUP BY ALL), "
        "typed AS (SELECT *, TRY_CAST(value AS DOUBLE) AS number FROM valued) "
        "SELECT source, key, sum(n), count(*), sum(n) FILTER (number IS NOT NULL), min(number), max(number), "
        f"max_by(value, {{'n': n, 'value': value}}, {_EXAMPLES}) FROM typed GROUP BY ALL ORDER BY source, key",
    )
    found = []
    for source, key, n, distinct, numbers, least, most, examples in rows:
        kind = "number" if (numbers or 0) >= 0.99 * n else "text" if is_text(distinct, n) else "category"
        # The few numbers among texts are the range of nothing.
        least, most = (least, most) if kind == "number" else (None, None)
        missing = round(1 - n / counts[source], 6)
        found.append(
            FieldReport(
                source=source, field=key, kind=kind, missing=missing, distinct=distinct, least=least, most=most,
                examples=examples,
            )
        )  # fmt: skip
    return found


def customer_numbers(connection: "duckdb.DuckDBPyConnection") -> dict[str, Any]:
    """``customers``, ``events_per_customer`` and ``histogram`` of the table ``customers``."""
    ((n, quartiles),) = _rows(connection, "SELECT count(*), quantile_disc(n, [0, 0.25, 0.5, 0.75, 1]) FROM customers")
    bins = _rows(
        connection, "SELECT CAST(2 ** ceil(log2(n)) AS BIGINT) AS up_to, count(*) FROM customers GROUP BY 1 ORDER BY 1"
    )
    return {"customers": n, "events_per_customer": list(quartiles or []), "histogram": dict(bins)}


def profile_numbers(connection: "duckdb.DuckDBPyConnection", profiles: Path) -> dict[str, int]:
    """``customers_without_profile`` and ``profiles_without_events``."""
    ((without_profile,),) = _rows(
        connection, f"SELECT count(*) FROM customers ANTI JOIN {parquet(profiles)} USING (user_id)"
    )
    ((without_events,),) = _rows(
        connection, f"SELECT count(*) FROM {parquet(profiles)} ANTI JOIN customers USING (user_id)"
    )
    return {"customers_without_profile": without_profile, "profiles_without_events": without_events}


def label_numbers(connection: "duckdb.DuckDBPyConnection", labels: Path) -> list[int]:
    """How many labels there are, and how many of them are 1."""
    (counts,) = _rows(connection, f"SELECT count(*), coalesce(sum(label), 0) FROM {parquet(labels)}")
    return [int(n) for n in counts]


def months(connection: "duckdb.DuckDBPyConnection", events: Path) -> dict[str, int]:
    """Events of each month that has some."""
    return dict(
        _rows(
            connection,
            f"SELECT strftime(ts, '%Y-%m') AS month, count(*) FROM {parquet(events)} GROUP BY month ORDER BY month",
        )
    )


def _rows(connection: "duckdb.DuckDBPyConnection", sql: str) -> list[tuple[Any, ...]]:
    return run(connection, sql, FILE).fetchall()
