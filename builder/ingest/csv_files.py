"""Text tables: their delimiter, header and encoding, and how DuckDB is to read them."""

import csv as csv_module
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder.ingest.encodings import UTF8, as_utf8, encoding_of, opened, packing_of
from builder.ingest.settings import Csv
from builder.ingest.sql import text, texts
from pragmatiq_triton.errors import ConfigError, DataError

if TYPE_CHECKING:
    import duckdb

DELIMITERS = (",", ";", "\t", "|")
MOST_LINE_BYTES = 2 << 20
_SAMPLE = 1 << 20


@dataclass(frozen=True)
class CsvScan:
    """How to read text tables: what stands behind FROM, their columns, and what was found out."""

    sql: str
    columns: list[str]
    paths: list[str]
    rejects: str
    notes: list[str] = field(default_factory=list)


def csv_scan(
    connection: "duckdb.DuckDBPyConnection", files: list[Path], csv: Csv, where: str, work: Path, rejects: str
) -> CsvScan:
    """Every column as text; lines that are no rows go to the table ``rejects``.

    Raises:
        ConfigError: nothing tells the delimiter, or there seems to be no header.
        DataError: an empty or damaged file, or files whose columns differ.
    """
    notes: list[str] = []
    readable: list[Path] = []
    for file in files:
        try:
            encoding = csv.encoding or encoding_of(file)
        except (OSError, EOFError) as error:
            raise DataError(f"{where}: {file.name}: cannot be read: {error}") from None
        if csv.encoding is None and encoding != UTF8:
            notes.append(f"{file.name} is read as {encoding}; csv: {{encoding: ...}} names another")
        readable.append(as_utf8(file, encoding, work))
    delimiter = csv.delimiter or _delimiter(connection, readable[0], csv, f"{where}: {files[0].name}")
    columns: list[str] = []
    for file, copy in zip(files, readable, strict=True):
        first = _first_row(copy, delimiter, csv, f"{where}: {file.name}")
        names = _names(first, csv, f"{where}: {file.name}")
        if columns and names != columns:
            raise DataError(
                f"{where}: {file.name} has other columns than {files[0].name}: {', '.join(names)}; give it an entry of "
                "its own"
            )
        columns = names
    has_header = csv.header is not False
    options = {
        "auto_detect": "false",
        "columns": "{" + ", ".join(f"{text(name)}: 'VARCHAR'" for name in columns) + "}",
        "delim": text(delimiter),
        "quote": text(csv.quote),
        "escape": text(csv.quote),
        "header": str(has_header).lower(),
        "skip": str(csv.skip),
        "compression": text(packing_of(readable[0])),
        "filename": text("_file"),
        "store_rejects": "true",
        "rejects_table": text(rejects),
        "rejects_scan": text(f"{rejects}_scans"),
        "max_line_size": str(MOST_LINE_BYTES),
    }
    listed = ", ".join(f"{name}={value}" for name, value in options.items())
    if csv.delimiter is None and delimiter != ",":
        notes.append(f"columns are parted by {delimiter!r}")
    paths = [str(path) for path in readable]
    return CsvScan(f"read_csv({texts(paths)}, {listed})", columns, paths, rejects, notes)


def _delimiter(connection: "duckdb.DuckDBPyConnection", file: Path, csv: Csv, where: str) -> str:
    """The one of :data:`DELIMITERS` by which the first lines have the same number of columns."""
    import duckdb

    found: list[tuple[float, int, str]] = []
    lines = _sample(file).splitlines()[csv.skip :][:500]
    for delimiter in DELIMITERS:
        try:
            widths = [len(row) for row in csv_module.reader(lines, delimiter=delimiter, quotechar=csv.quote) if row]
        except csv_module.Error:
            continue
        if widths and widths[0] > 1:
            found.append((sum(width == widths[0] for width in widths) / len(widths), widths[0], delimiter))
    if found and max(found)[0] >= 0.9:
        return max(found)[2]
    if lines and not found:
        # A table of one column has no delimiter.
        return ","
    try:
        row = connection.execute(
            f"SELECT Delimiter FROM sniff_csv({text(str(file))}, ignore_errors=true, strict_mode=false)"
        ).fetchone()
    except duckdb.Error:
        row = None
    if row is None:
        raise ConfigError(f"{where}: cannot tell what parts its columns; add csv: {{delimiter: ';'}} or another")
    return str(row[0])


def _first_row(file: Path, delimiter: str, csv: Csv, where: str) -> list[str]:
    lines = io.StringIO("\n".join(_sample(file).splitlines()[csv.skip :]))
    try:
        row = next(csv_module.reader(lines, delimiter=delimiter, quotechar=csv.quote), None)
    except csv_module.Error as error:
        raise DataError(f"{where}: the first line cannot be read: {error}") from None
    if not row:
        raise DataError(f"{where}: the file is empty; expected a line of column names and rows")
    return row


def _names(first: list[str], csv: Csv, where: str) -> list[str]:
    if csv.header is False:
        return [f"column{number}" for number in range(len(first))]
    names = [name.strip() or f"column{number}" for number, name in enumerate(first)]
    if csv.header is None and any(_is_number(name) for name in names):
        raise ConfigError(
            f"{where}: the first line looks like a row and not like names of columns ({', '.join(first)[:80]}); add "
            "csv: {header: false}, which names them column0, column1 ..., or csv: {header: true}"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{where}: the column {twice[0]!r} is there twice; rename one")
    return names


def _is_number(name: str) -> bool:
    try:
        float(name.replace(",", "."))
    except ValueError:
        return False
    return True


def _sample(file: Path) -> str:
    with opened(file) as stream:
        content = stream.read(_SAMPLE)
    return content.decode(UTF8, "replace").removeprefix("\ufeff")
