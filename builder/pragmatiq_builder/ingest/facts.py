"""What a table's columns hold: counts over all rows, and a sample of rows to look at."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pragmatiq_builder.ingest.csv_files import TitleLinesError
from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.settings import Csv, FieldColumn, TimeColumn
from pragmatiq_builder.ingest.spreadsheets import has_spreadsheet_seconds
from pragmatiq_builder.ingest.sql import ident
from pragmatiq_builder.ingest.tables import Opener, Scan
from pragmatiq_builder.ingest.times import TimeReader, time_reader
from pragmatiq_builder.ingest.values import NEGATIVE, POSITIVE, number_text, plain_text
from pragmatiq_builder.ingest.words import AS_OF, DECISION, EVENT_TIME, TIME, words_of
from pragmatiq_triton.errors import ConfigError, DataError

if TYPE_CHECKING:
    import duckdb

_SAMPLE_ROWS = 50_000
_SKETCH = 2_000
_EXAMPLES = 3
_MOST = 0.9
"""Of a column's values that a kind must fit; the rest would be bad rows."""
_FEW_DAYS = 4
_STYLES = ((".", ""), (".", ","), (",", ""), (",", "."), (",", " "), (".", "'"), (".", " "), (",", "'"))
"""Decimal mark and mark between thousands, those that need less to be believed first."""


@dataclass(frozen=True)
class ColumnFacts:
    """A column.

    Attributes:
        name: its name.
        kind: DuckDB's type.
        filled: values that are there.
        distinct: about how many of them differ (2 % off).
        examples: the most frequent of the sample.
        number: how its numbers are written, if nearly all its values are numbers; ``decimal`` None means plainly.
        least: of the sample's numbers.
        most: of the sample's numbers.
        time: how its moments are read, if they are any.
        first: of the sample's moments.
        last: of the sample's moments.
        times_of_day: how many different ones the sample's moments have.
        time_problem: why moments cannot be read without help.
        time_from: the other column that told between day and month, as "booked_at of payments.csv".
        values: all values of the sample in lower case, if there are at most 20.
        sketch: the smallest hashes of its values, by which columns are compared.
    """

    name: str
    kind: str
    filled: int
    distinct: int
    examples: list[str]
    number: FieldColumn | None = None
    least: float | None = None
    most: float | None = None
    time: TimeReader | None = None
    first: str = ""
    last: str = ""
    times_of_day: int = 0
    time_problem: str = ""
    time_from: str = ""
    values: list[str] = field(default_factory=list)
    sketch: frozenset[int] = frozenset()

    @property
    def is_nested(self) -> bool:
        return self.kind.startswith(("MAP", "STRUCT")) or self.kind.endswith("]")

    @property
    def is_milestones(self) -> bool:
        """A list of names and moments."""
        return self.kind.endswith("[]") and "TIMESTAMP" in self.kind

    @property
    def is_binary(self) -> bool:
        """The values that a label would have: two, or both in several spellings."""
        values = {*self.values}
        return bool(values) and values <= {*POSITIVE, *NEGATIVE} and (len(values) <= 2 or bool(values & {*NEGATIVE}))

    @property
    def has_days_only(self) -> bool:
        """Moments that are days: midnight, or two hours that a zone makes of it in summer and in winter."""
        return self.times_of_day == 1 or (self.times_of_day == 2 and self.distinct > _FEW_DAYS)

    def overlap(self, other: "ColumnFacts") -> float:
        """About the share of the smaller column's values that the other has too."""
        if not self.sketch or not other.sketch:
            return 0.0
        # Below this hash both sketches hold every value.
        bound = min(max(self.sketch) if len(self.sketch) == _SKETCH else 2**64,
                    max(other.sketch) if len(other.sketch) == _SKETCH else 2**64)  # fmt: skip
        ours, theirs = ({value for value in sketch if value <= bound} for sketch in (self.sketch, other.sketch))
        return len(ours & theirs) / max(min(len(ours), len(theirs)), 1)


@dataclass(frozen=True)
class TableFacts:
    """A table: ``pattern`` as it was given, its rows and columns, and DuckDB's table of the ``sample``.

    ``skip``: lines above the names of its columns.
    """

    pattern: str
    scan: Scan
    rows: int
    columns: list[ColumnFacts]
    sample: str
    skip: int = 0

    def column(self, name: str) -> ColumnFacts:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    def comparable(self, name: str) -> str:
        """SQL of a column, so that whole numbers that floats hold compare with whole numbers."""
        return _comparable(name, self.scan)


def table_facts(connection: "duckdb.DuckDBPyConnection", opener: Opener, pattern: str, number: int) -> TableFacts:
    """Look at all rows of a table once, and at a sample of them closely.

    Raises ConfigError and DataError where it cannot be read.
    """
    where = pattern
    skip = 0
    try:
        scan = opener.files(pattern, None, Csv(), where)
    except TitleLinesError as error:
        skip = error.skip
        scan = opener.files(pattern, None, Csv(skip=skip), where)
    names = list(scan.columns)
    counts = ", ".join(f"count({ident(name)}), approx_count_distinct({_comparable(name, scan)})" for name in names)
    row = run(connection, f"SELECT count(*), {counts} FROM {scan.sql}", where).fetchone()
    assert row
    if row[0] == 0:
        raise DataError(f"{where}: has no rows")
    sample = f"sample_{number}"
    run(
        connection,
        f"CREATE TABLE {sample} AS SELECT {', '.join(map(ident, names))} FROM {scan.sql} "
        f"USING SAMPLE reservoir({_SAMPLE_ROWS} ROWS) REPEATABLE (1)",
        where,
    )
    columns = [
        _column_facts(connection, sample, scan, name, row[1 + 2 * at], row[2 + 2 * at], where)
        for at, name in enumerate(names)
    ]
    return TableFacts(pattern, scan, row[0], columns, sample, skip)


def with_orders(connection: "duckdb.DuckDBPyConnection", tables: list[TableFacts]) -> list[TableFacts]:
    """Read the moments of which no value tells between day and month as the other columns' moments, if these agree."""
    told = {
        (column.time.setting["format"], f"{column.name} of {table.pattern}")
        for table in tables
        for column in table.columns
        if column.time and column.time.setting.get("format") in ("dmy", "mdy")
    }
    if len({order for order, _ in told}) != 1:
        return tables
    order, time_from = min(told)
    return [
        replace(table, columns=[_in_order(connection, table, column, order, time_from) for column in table.columns])
        for table in tables
    ]


def _in_order(
    connection: "duckdb.DuckDBPyConnection", table: TableFacts, column: ColumnFacts, order: str, time_from: str
) -> ColumnFacts:
    if not column.time_problem:
        return column
    setting = TimeColumn(column.name, format=order)
    times = _time(connection, table.sample, ident(column.name), column.kind, setting, table.pattern)
    return column if times["time"] is None else replace(column, time_from=time_from, **times)


def _column_facts(
    connection: "duckdb.DuckDBPyConnection", sample: str, scan: Scan, name: str, filled: int, distinct: int, where: str
) -> ColumnFacts:
    kind, column = scan.columns[name].upper(), ident(name)
    if kind.startswith(("MAP", "STRUCT")) or kind.endswith("]"):
        return ColumnFacts(name, scan.columns[name], filled, distinct, [])
    written = plain_text(column, kind)
    frequent = run(
        connection,
        f"SELECT v FROM (SELECT {written} AS v FROM {sample}) WHERE v IS NOT NULL GROUP BY v "
        f"ORDER BY count(*) DESC, v LIMIT 21",
        where,
    ).fetchall()
    examples = [value for (value,) in frequent]
    number, least, most = _number(connection, sample, column, kind, name, where)
    times = _time(connection, sample, column, kind, TimeColumn(name), where)
    hashes = run(
        connection,
        f"SELECT DISTINCT hash(trim(CAST({_comparable(name, scan)} AS VARCHAR))) AS h FROM {scan.sql} "
        f"WHERE {column} IS NOT NULL ORDER BY h LIMIT {_SKETCH}",
        where,
    ).fetchall()
    return ColumnFacts(
        name, kind, filled, min(distinct, filled), examples[:_EXAMPLES], number, least, most,
        values=[value.strip().lower() for value in examples] if len(examples) <= 20 else [],
        sketch=frozenset(value for (value,) in hashes), **times,
    )  # fmt: skip


def _comparable(name: str, scan: Scan) -> str:
    """Whole numbers that floats hold are compared with whole numbers."""
    column, kind = ident(name), scan.columns[name].upper()
    return f"TRY_CAST({column} AS HUGEINT)" if kind in ("FLOAT", "DOUBLE") else column


def _number(
    connection: "duckdb.DuckDBPyConnection", sample: str, column: str, kind: str, name: str, where: str
) -> tuple[FieldColumn | None, float | None, float | None]:
    if kind != "VARCHAR":
        if not kind.startswith(("TINY", "SMALL", "INT", "BIG", "HUGE", "U", "FLOAT", "DOUBLE", "DECIMAL")):
            return None, None, None
        least, most = _range(connection, sample, column, where)
        return (FieldColumn(name), least, most) if least is not None else (None, None, None)
    styles = [FieldColumn(name, decimal, thousands) for decimal, thousands in _STYLES]  # type: ignore[arg-type]
    counts = ", ".join(f"count({number_text(column, kind, style)})" for style in styles)
    row = run(connection, f"SELECT count(nullif(trim({column}), '')), {counts} FROM {sample}", where).fetchone()
    assert row
    filled, fits = row[0], row[1:]
    if not filled or max(fits) < _MOST * filled:
        return None, None, None
    style = styles[fits.index(max(fits))]
    least, most = _range(connection, sample, number_text(column, kind, style), where)
    is_plain = (style.decimal, style.thousands) == _STYLES[0]
    return FieldColumn(name) if is_plain else style, least, most


def _range(
    connection: "duckdb.DuckDBPyConnection", sample: str, column: str, where: str
) -> tuple[float | None, float | None]:
    number = f"TRY_CAST({column} AS DOUBLE)"
    row = run(
        connection, f"SELECT min({number}), max({number}) FROM {sample} WHERE isfinite({number})", where
    ).fetchone()
    assert row
    return row


def _time(
    connection: "duckdb.DuckDBPyConnection", sample: str, column: str, kind: str, setting: TimeColumn, where: str
) -> dict[str, Any]:
    """Of :class:`ColumnFacts`, what is known of moments; or what keeps them from being read."""
    nothing = {"time": None, "time_problem": ""}
    try:
        reader = time_reader(connection, sample, column, kind, setting, where)
    except ConfigError as error:
        if (
            "add unit: excel" in str(error)
            and setting.unit is None
            and (_says_time(setting.column) or has_spreadsheet_seconds(connection, sample, column, where))
        ):
            return _time(
                connection, sample, column, kind, TimeColumn(setting.column, unit="excel", zone=setting.zone), where
            )
        return nothing | {"time_problem": str(error) if "no other value tells" in str(error) else ""}
    moment = reader.of(column)
    row = run(
        connection,
        f"SELECT count({moment}), count(nullif(trim(CAST({column} AS VARCHAR)), '')), min({moment}), max({moment}), "
        f"count(DISTINCT CAST({moment} AS TIME)) FROM {sample}",
        where,
    ).fetchone()
    assert row
    read, filled, first, last, times_of_day = row
    if not filled or read < _MOST * filled or first.year < 1850 or last.year > 2200:
        return nothing
    return nothing | {"time": reader, "first": str(first), "last": str(last), "times_of_day": times_of_day}


def _says_time(name: str) -> bool:
    return bool(words_of(name) & (TIME | EVENT_TIME | AS_OF | DECISION)) or name.lower().endswith("_at")
