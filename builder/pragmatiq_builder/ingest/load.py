"""Rows of a table as they came, numbered, in DuckDB's file on disk; nothing is judged yet."""

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.queries import PERCENT, Steps, run
from pragmatiq_builder.ingest.settings import EventTable, Join, LabelTable, ProfileTable
from pragmatiq_builder.ingest.sql import ident
from pragmatiq_builder.ingest.tables import Opener, Scan
from pragmatiq_builder.progress import Progress
from pragmatiq_triton.errors import ConfigError, DataError

if TYPE_CHECKING:
    import duckdb

AnyTable = EventTable | ProfileTable | LabelTable
ROW, FILE, HASH = "_row", "_file", "_hash"


@dataclass(frozen=True)
class Loaded:
    """A table's rows in the database.

    Attributes:
        where: the setting that names it, as ``events[0]``.
        scan: what it was read from.
        name: DuckDB's view, with columns :data:`ROW` (from 0, over all files), :data:`FILE`, :data:`HASH` (of all
            columns) and those that are mapped, as :meth:`sql` names them.
        bad_lines: DuckDB's table of the lines that are no rows (file, line, reason, col, record).
        kinds: DuckDB's types of the mapped columns, by their own names.
        n_rows: rows that it has.
        n_left_out: rows that ``where`` leaves out.
        n_bad_lines: lines that are no rows.
        first_rows: of each file the number of its first row.
        notes: what was found out about it.
    """

    where: str
    scan: Scan
    name: str
    bad_lines: str
    kinds: dict[str, str]
    n_rows: int
    n_left_out: int
    n_bad_lines: int
    first_rows: dict[str, int]
    notes: list[str] = field(default_factory=list)

    def sql(self, column: str) -> str:
        """What the column ``column`` is called in the database, where none has the name of one of the contract."""
        return f"c{[*self.kinds].index(column)}"

    @property
    def n_read(self) -> int:
        """Rows and lines that were wanted."""
        return self.n_rows + self.n_bad_lines


def load_table(
    connection: "duckdb.DuckDBPyConnection",
    opener: Opener,
    table: AnyTable,
    columns: list[str],
    where: str,
    number: int,
    progress: Progress,
) -> Loaded:
    """Read the ``columns`` of a table, which its joins may bring, into DuckDB's table ``raw_<number>``.

    Raises:
        ConfigError: a column that is not there, or a join whose key is there twice.
        DataError: what cannot be read at all.
    """
    scan = opener.open(table, where)
    kinds = dict(scan.columns)
    notes = [f"{where}: {note}" for note in scan.notes]
    joins = []
    for at, join in enumerate(table.join):
        other, note = _joined(connection, opener, join, kinds, f"{where}.join[{at}]")
        joins.append(other)
        notes += note
    Scan(scan.name, "", kinds).require(columns, where)
    mapped = list(dict.fromkeys(columns))
    name = f"raw_{number}"
    _store(connection, scan, table.where, joins, mapped, number, where, Steps(progress, PERCENT))
    # Every further scan would add the same lines to DuckDB's list of them.
    bad_lines = f"bad_{number}"
    _keep_bad_lines(connection, scan, bad_lines, where)
    n_bad = _count(connection, f"SELECT count(*) FROM {bad_lines}", where)
    n_rows = _count(connection, f"SELECT count(*) FROM {name}", where)
    # What where leaves out is not stored, so that only then the files are read again.
    counts = _rows_of_files(connection, scan, scan.sql if table.where else name, where)
    n_all = sum(counts.values())
    if n_all + n_bad == 0:
        raise DataError(f"{where}: {scan.name} has no rows")
    return Loaded(
        where, scan, name, bad_lines, {column: kinds[column] for column in mapped}, n_rows, n_all - n_rows, n_bad,
        _first_rows(scan, counts), notes,
    )  # fmt: skip


def _store(
    connection: "duckdb.DuckDBPyConnection",
    scan: Scan,
    condition: str | None,
    joins: list[str],
    mapped: list[str],
    number: int,
    where: str,
    steps: Steps,
) -> None:
    """The table ``stored_<number>``, and over it the view ``raw_<number>``, whose :data:`ROW` counts the scan's rows.

    DuckDB keeps the order of what it stores, so the place in the table is the number of the row; it is counted, which
    takes as long as reading, only where rows are left out or joined.
    """
    own = ", ".join(ident(name) for name in scan.columns)
    file = "" if scan.files else f"'' AS {FILE}, "
    base = f"SELECT *, {file}hash({own}) AS {HASH} FROM {scan.sql}"
    is_counted = bool(condition or joins)
    if is_counted:
        base = f"SELECT *, row_number() OVER () - 1 AS {ROW} FROM ({base})"
    names = [*([ROW] if is_counted else []), FILE, HASH, *(f"{ident(name)} AS c{at}" for at, name in enumerate(mapped))]
    kept = f"WHERE ({condition})" if condition else ""
    order = f"ORDER BY {ROW}" if joins else ""
    run(
        connection,
        f"CREATE TABLE stored_{number} AS SELECT {', '.join(names)} "
        f"FROM ({base}) base {' '.join(joins)} {kept} {order}",
        where,
        steps,
    )
    place = "" if is_counted else f"rowid AS {ROW}, "
    run(connection, f"CREATE VIEW raw_{number} AS SELECT {place}* FROM stored_{number}", where)


def _joined(
    connection: "duckdb.DuckDBPyConnection", opener: Opener, join: Join, kinds: dict[str, str], where: str
) -> tuple[str, list[str]]:
    """The LEFT JOIN; ``kinds`` gets its columns."""
    other = opener.joined(join, where)
    pairs = {join.on: join.on} if isinstance(join.on, str) else join.on
    Scan("the table", "", kinds).require(pairs, where)
    other.require([*pairs.values(), *join.columns], where)
    if clash := sorted({*join.columns} & kinds.keys()):
        raise ConfigError(f"{where}: the column {clash[0]!r} is there already; leave it out of columns")
    keys = ", ".join(f"trim(CAST({ident(theirs)} AS VARCHAR)) AS k{at}" for at, theirs in enumerate(pairs.values()))
    names = [f"k{at}" for at in range(len(pairs))]
    table = f"joined_{where.translate(str.maketrans('.[]', '___'))}"
    values = ", ".join(map(ident, join.columns))
    run(connection, f"CREATE TABLE {table} AS SELECT {keys}, {values} FROM {other.sql}", where)
    twice = run(
        connection,
        f"SELECT {', '.join(names)} FROM {table} GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT 1",
        where,
    ).fetchone()
    if twice:
        shown = ", ".join(f"{theirs} {value!r}" for theirs, value in zip(pairs.values(), twice, strict=True))
        raise ConfigError(f"{where}: {other.name} has {shown} more than once; a join needs a key that is there once")
    kinds.update({column: other.columns[column] for column in join.columns})
    on = " AND ".join(f"trim(CAST(base.{ident(ours)} AS VARCHAR)) = {table}.k{at}" for at, ours in enumerate(pairs))
    return f"LEFT JOIN {table} ON {on}", [f"{where}: {note}" for note in other.notes]


def _keep_bad_lines(connection: "duckdb.DuckDBPyConnection", scan: Scan, name: str, where: str) -> None:
    if scan.rejects is None:
        run(
            connection,
            f"CREATE TABLE {name} (file VARCHAR, line BIGINT, reason VARCHAR, col VARCHAR, record VARCHAR)",
            where,
        )
        return
    run(
        connection,
        f"CREATE TABLE {name} AS SELECT DISTINCT ON (file, line) s.file_path AS file, r.line AS line, "
        "lower(replace(CAST(r.error_type AS VARCHAR), '_', ' ')) AS reason, r.column_name AS col, r.csv_line AS record "
        f"FROM {scan.rejects} r JOIN {scan.rejects}_scans s USING (scan_id, file_id) "
        "ORDER BY file, line, r.byte_position",
        where,
    )


def _rows_of_files(connection: "duckdb.DuckDBPyConnection", scan: Scan, rows: str, where: str) -> dict[str, int]:
    """How many rows of each file are among ``rows``; a query's have no file."""
    file = FILE if scan.files else "''"
    return dict(run(connection, f"SELECT {file}, count(*) FROM {rows} GROUP BY 1", where).fetchall())


def _first_rows(scan: Scan, counts: dict[str, int]) -> dict[str, int]:
    """The number of each file's first row among the rows of all files; files without rows have no counts."""
    sizes = [counts.get(path, 0) for path in scan.paths]
    return dict(zip(scan.paths, accumulate(sizes, initial=0), strict=False)) if len(sizes) > 1 else {}


def _count(connection: "duckdb.DuckDBPyConnection", sql: str, where: str) -> int:
    row = run(connection, sql, where).fetchone()
    assert row
    return int(row[0])
