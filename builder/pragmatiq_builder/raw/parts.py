"""A table of the raw contract on disk: one parquet file, or a folder of them as Spark and pandas write it."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.raw.arrays import holds_dictionary
from pragmatiq_builder.raw.findings import Findings, Rows
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.manifest import file_hash

SUFFIXES = (".parquet", ".parq", ".pq")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_TABLE_FORMATS = {"_delta_log": "Delta Lake", "metadata/*.metadata.json": "Iceberg", ".hoodie": "Hudi"}
_UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, RuntimeError)
"""What pyarrow raises over damaged files, beside its own errors."""


@dataclass(frozen=True, slots=True)
class Part:
    """One parquet file; ``partition``: what the names of its folders say, as ``date=2025-01``."""

    path: Path
    partition: dict[str, str | None] = field(default_factory=dict)

    def open(self) -> pq.ParquetFile:
        """The file; :class:`DataError` where it is no readable parquet."""
        if not self.path.is_file():
            problem = "a link to nothing" if self.path.is_symlink() else "no regular file"
            raise DataError(f"{self.path}: expected a parquet file, got {problem}")
        try:
            # Buffering ahead would keep the bytes of every row group: a file larger than memory must stream. Spark
            # writes moments as INT96, whose nanoseconds end in 2262.
            file = pq.ParquetFile(
                self.path, pre_buffer=False, coerce_int96_timestamp_unit="us", page_checksum_verification=True
            )
            file.schema_arrow  # noqa: B018 - it is read here, where its errors are caught
        except _UNREADABLE as error:
            raise DataError(f"{self.path}: cannot be read as Parquet: {_one_line(error)}") from None
        return file

    def rows(self, file: pq.ParquetFile, columns: list[str], chunk_rows: int) -> Iterator[Rows]:
        """The rows in their order; :class:`DataError` where the file is damaged."""
        first = 0
        try:
            for batch in self._batches(file, columns, chunk_rows):
                if batch.num_rows:
                    yield Rows(self.path, first, batch)
                first += batch.num_rows
        except _UNREADABLE as error:
            raise DataError(f"{self.path}: cannot be read after row {first}: {_one_line(error)}") from None

    def _batches(self, file: pq.ParquetFile, columns: list[str], chunk_rows: int) -> Iterator[pa.RecordBatch]:
        if any(holds_dictionary(file.schema_arrow.field(name).type) for name in columns):
            # Arrow has no batch of nested dictionaries that differ from one row group to the next.
            for group in range(file.num_row_groups):
                yield from file.iter_batches(chunk_rows, row_groups=[group], columns=columns)
        else:
            yield from file.iter_batches(chunk_rows, columns=columns)


@dataclass(frozen=True, slots=True)
class RawTable:
    """The parts of a table, in the order of their paths."""

    path: Path
    parts: list[Part]

    def count_rows(self) -> int:
        """Rows by the files' footers."""
        n_rows = 0
        for part in self.parts:
            with part.open() as file:
                n_rows += int(file.metadata.num_rows)
        return n_rows

    def has_no_rows(self) -> bool:
        """Whether all files can be read and are empty."""
        try:
            return self.count_rows() == 0
        except DataError:
            return False


def find_table(data: Path, name: str) -> RawTable | None:
    """The table ``name`` of a raw data folder, ``NAME.parquet`` or the folder ``NAME``; None if there is neither.

    Raises :class:`DataError` for both, and for a folder that is no folder of parquet files.
    """
    file, folder = data / f"{name}.parquet", data / name
    there = [path for path in (file, folder) if os.path.lexists(path) and (path == file or path.is_dir())]
    if len(there) == 2:
        raise DataError(f"{data}: {file.name} and {folder.name}/ are both here, expected one of them; move one away")
    return read_table_at(there[0]) if there else None


def read_table_at(path: Path) -> RawTable:
    """A file, or the files of a folder; :class:`DataError` where there are none."""
    if not path.is_dir():
        return RawTable(path, [Part(path)])
    for sign, table_format in _TABLE_FORMATS.items():
        if any(path.glob(sign)):
            raise DataError(
                f"{path}: is a {table_format} table, whose files hold removed rows too; "
                "write its current rows as parquet"
            )
    parts = list(_parts(path, {}, ()))
    if not parts:
        raise DataError(f"{path}: expected a parquet file or a folder of them, got a folder without any")
    return RawTable(path, parts)


def _parts(folder: Path, partition: dict[str, str | None], above: tuple[Path, ...]) -> Iterator[Part]:
    """Parquet files below a folder; names with ``_`` or ``.`` in front belong to the tools that wrote it."""
    real = folder.resolve()
    if real in above:
        raise DataError(f"{folder}: is a link to a folder that it is in, expected parquet files")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from None
    for path in entries:
        if path.name == "_temporary":
            raise DataError(f"{path}: the job that writes this folder has not ended well; write it again")
        if path.name.startswith(("_", ".")):
            continue
        if path.is_dir():
            key, equals, value = path.name.partition("=")
            named = {unquote(key): None if value == _NULL_PARTITION else unquote(value)} if equals else {}
            yield from _parts(path, {**partition, **named}, (*above, real))
        elif path.suffix in SUFFIXES or not path.suffix:
            yield Part(path, partition)
        else:
            raise DataError(f"{path}: expected nothing but parquet files in this folder; move it away")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} ..."


def count_rows(data: Path, name: str = "events") -> int:
    """Rows of a table of a raw data folder, from its footers; without the table :class:`DataError`."""
    table = find_table(data, name)
    if table is None:
        raise missing_table(data, name)
    return table.count_rows()


def missing_table(data: Path, name: str) -> DataError:
    """The error of a folder without a table that it needs."""
    names = sorted(path.name for path in data.iterdir()) if data.is_dir() else []
    there = [name for name in names if not name.startswith(("_", "."))]
    found = f"; in the folder are {', '.join(there)}"[:200] if there else ""
    return DataError(f"{data / name}.parquet: no such file; expected it, or a folder {name}/ of parquet files{found}")


def opened(part: Part, findings: Findings) -> pq.ParquetFile | None:
    """The file of a part; what is wrong with it is a finding, and None."""
    try:
        return part.open()
    except DataError as error:
        _tell(part.path, error, findings)
        return None


def read_rows(
    part: Part, file: pq.ParquetFile, columns: list[str], chunk_rows: int, findings: Findings
) -> Iterator[Rows]:
    """The rows of a part; damage found on the way is a finding and ends them."""
    try:
        for rows in part.rows(file, columns, chunk_rows):
            yield rows
            findings.advance(rows.batch.num_rows)
    except DataError as error:
        _tell(part.path, error, findings)


def _tell(path: Path, error: DataError, findings: Findings) -> None:
    findings.broken(path, str(error).removeprefix(f"{path}: "))


def table_hash(path: Path) -> str:
    """The SHA-256 of a table's file; of a folder, that of a listing of its parts' names and hashes."""
    if not path.is_dir():
        return file_hash(path)
    listing = "".join(f"{file_hash(part.path)}  {part.path.relative_to(path)}\n" for part in read_table_at(path).parts)
    return hashlib.sha256(listing.encode()).hexdigest()
