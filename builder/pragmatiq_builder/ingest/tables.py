"""Opening tables: files of several formats, folders of parts, and queries become something that DuckDB selects from."""

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pragmatiq_builder.ingest.csv_files import csv_scan
from pragmatiq_builder.ingest.queries import first_line, run, stoppable
from pragmatiq_builder.ingest.settings import Csv, Format, Join, Table
from pragmatiq_builder.ingest.sql import text, texts
from pragmatiq_triton.errors import ConfigError, DataError, MissingDependencyError

if TYPE_CHECKING:
    import duckdb

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".psv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_PACKED = (".gz", ".zst", ".zstd")


@dataclass(frozen=True)
class Scan:
    """Something to select from.

    Attributes:
        name: as messages say it.
        format: of the files; None of a query.
        sql: what stands behind FROM.
        columns: names and DuckDB's types.
        files: where the rows lie; none for a query.
        paths: what DuckDB reads for each of them: the file, or a copy of it in UTF-8.
        rejects: DuckDB's table of the lines that are no rows, if there is one.
        notes: what was found out about it.
    """

    name: str
    sql: str
    columns: dict[str, str]
    format: Format | None = None
    files: list[Path] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    rejects: str | None = None
    notes: list[str] = field(default_factory=list)

    def require(self, columns: Iterable[str], where: str) -> None:
        """ConfigError for a column that is not there, with those that are like it."""
        for column in columns:
            if column in self.columns:
                continue
            lower = {name.strip().lower(): name for name in self.columns}
            like = [lower[column.strip().lower()]] if column.strip().lower() in lower else []
            like = like or difflib.get_close_matches(column, list(self.columns), 1, 0.75)
            has = f"did you mean {like[0]!r}? It has" if like else "it has"
            raise ConfigError(f"{where}: {self.name} has no column {column!r}; {has}: {', '.join(self.columns)}")


class Opener:
    """Opens tables on one connection.

    Args:
        connection: DuckDB's.
        base: the folder that relative names start at.
        work: a folder for copies in UTF-8.
    """

    def __init__(self, connection: "duckdb.DuckDBPyConnection", base: Path, work: Path) -> None:
        self._connection = connection
        self._base = base
        self._work = work
        self._n_opened = 0

    def open(self, table: Table, where: str) -> Scan:
        """The table or query that a setting names; raises ConfigError and DataError, which begin with ``where``."""
        if table.query is not None:
            return self._query(table.query, table.database, where)
        assert table.table is not None, "the settings are checked"
        return self.files(table.table, table.format, table.csv, where)

    def joined(self, join: Join, where: str) -> Scan:
        """The table of a join."""
        return self.files(join.table, join.format, join.csv, where)

    def files(self, pattern: str, given: Format | None, csv: Csv, where: str) -> Scan:
        """A file, a folder of parts, or the files that a pattern matches, in the order of their names."""
        files = table_files(self._base, pattern, where)
        kinds = {given or format_of(file, where) for file in files}
        if len(kinds) > 1:
            raise ConfigError(f"{where}: {pattern} has files of several formats ({', '.join(sorted(kinds))}); name one")
        (kind,) = kinds
        self._n_opened += 1
        name = f"t{self._n_opened}"
        paths = texts([str(file) for file in files])
        if kind == "csv":
            found = csv_scan(self._connection, files, csv, where, self._work, f"{name}_rejects")
            return Scan(
                pattern,
                found.sql,
                dict.fromkeys(found.columns, "VARCHAR"),
                kind,
                files,
                found.paths,
                found.rejects,
                found.notes,
            )
        if kind == "parquet":
            sql = f"read_parquet({paths}, union_by_name=true, hive_partitioning=true, filename='_file')"
        elif kind == "json":
            sql = (
                f"read_json({paths}, format='auto', sample_size=-1, ignore_errors=true, union_by_name=true, "
                "filename='_file', maximum_object_size=16777216)"
            )
        else:
            import pyarrow.dataset as ds

            try:
                self._connection.register(name, ds.dataset([str(file) for file in files], format="ipc"))
            except (OSError, ValueError) as error:
                raise DataError(f"{where}: {pattern}: cannot be read as Arrow: {first_line(error)}") from None
            sql = f"(SELECT *, {text(str(files[0]))} AS _file FROM {name})"
        found_columns = self._columns(sql, f"{where}: {pattern}")
        found_columns.pop("_file", None)
        return Scan(pattern, sql, found_columns, kind, files, [str(file) for file in files])

    def _query(self, query: str, database: str | None, where: str) -> Scan:
        self._n_opened += 1
        name = f"t{self._n_opened}"
        shown = f"query on {_without_password(database)}" if database else "query"
        query = query.strip().rstrip(";")
        if database is None or database.endswith((".duckdb", ".ddb")):
            if database is not None:
                file = self._base / database
                if not file.is_file():
                    raise ConfigError(f"{where}: database: there is no file {file}")
                self._run(f"ATTACH {text(str(file))} AS {name} (READ_ONLY)", f"{where}: {shown}")
                self._run(f"USE {name}", where)
                try:
                    self._run(f"CREATE TEMP TABLE {name}_rows AS {query}", f"{where}: {shown}")
                finally:
                    self._run("USE ingest", where)
                sql = f"temp.{name}_rows"
            else:
                sql = f"({query})"
        else:
            with self._rows_of(_expanded(database, where), query, f"{where}: {shown}") as rows:
                self._connection.register(name, rows)
                self._run(f"CREATE TABLE {name}_rows AS SELECT * FROM {name}", f"{where}: {shown}")
                self._connection.unregister(name)
            sql = f"{name}_rows"
        return Scan(shown, sql, self._columns(sql, f"{where}: {shown}"))

    @contextmanager
    def _rows_of(self, database: str, query: str, where: str) -> Iterator[Any]:
        """Arrow batches of a query, one after the other."""
        try:
            if database.startswith(("postgres://", "postgresql://")):
                from adbc_driver_postgresql import dbapi
            elif (file := self._base / database.removeprefix("sqlite:///")).is_file():
                from adbc_driver_sqlite import dbapi

                database = f"file:{file}?mode=ro"
            else:
                raise ConfigError(
                    f"{where}: expected a DuckDB file (.duckdb), an SQLite file or postgresql://USER@HOST/NAME; there "
                    f"is no file {file}"
                )
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f'{where}: {error.name} is not installed; run: pip install "pragmatiq-triton[databases]"'
            ) from None
        try:
            with dbapi.connect(database) as connection, connection.cursor() as cursor:
                stoppable(lambda: cursor.execute(query), cursor.adbc_cancel)
                yield cursor.fetch_record_batch()
        except dbapi.Error as error:
            raise DataError(f"{where}: {first_line(error)}") from None

    def _columns(self, sql: str, where: str) -> dict[str, str]:
        rows = self._run(f"DESCRIBE SELECT * FROM {sql}", where).fetchall()
        return {name: kind for name, kind, *_ in rows}

    def _run(self, sql: str, where: str) -> "duckdb.DuckDBPyConnection":
        return run(self._connection, sql, where)


def table_files(base: Path, pattern: str, where: str) -> list[Path]:
    """The files that ``pattern`` names, in the order of their names; ConfigError if there are none.

    A folder is all its files, in folders below it too; names that begin with ``_`` or ``.`` are passed over.
    """
    place = base / pattern
    if place.is_file():
        return [place]
    if place.is_dir():
        found = [path for path in place.rglob("*") if _is_data(path, place)]
        kinds = {_suffix(path) for path in found} & _FORMATS.keys()
        if kinds:
            found = [path for path in found if _suffix(path) in kinds]
    elif any(mark in pattern for mark in "*?["):
        root = Path(pattern).anchor or "."
        top = Path(root) if Path(pattern).is_absolute() else base
        found = list(top.glob(str(Path(pattern).relative_to(root)) if root != "." else pattern))
        found = [path for path in found if path.is_file() and not path.name.startswith((".", "_"))]
    else:
        raise ConfigError(f"{where}: there is no file or folder {place}")
    if not found:
        raise ConfigError(f"{where}: no file in {place}" if place.is_dir() else f"{where}: no file matches {place}")
    return sorted(found)


def format_of(file: Path, where: str) -> Format:
    """The format that the name tells, or the first bytes; ConfigError if neither does."""
    if kind := _FORMATS.get(_suffix(file)):
        return kind
    with file.open("rb") as start:
        head = start.read(8)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1"):
        return "arrow"
    raise ConfigError(
        f"{where}: {file.name}: its name does not tell its format; add format: csv, json, parquet or arrow"
    )


def _suffix(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _is_data(path: Path, place: Path) -> bool:
    return path.is_file() and not any(part.startswith(("_", ".")) for part in path.relative_to(place).parts)


def _expanded(database: str, where: str) -> str:
    expanded = os.path.expandvars(database)
    if "$" in expanded:
        raise ConfigError(f"{where}: database: an environment variable of {database!r} is not set")
    return expanded


def _without_password(database: str) -> str:
    head, at, tail = database.rpartition("@")
    if not at:
        return database
    scheme, _, user = head.rpartition("//")
    return f"{scheme}//{user.partition(':')[0]}@{tail}"
