"""Text tables: their delimiter, header and encoding, and how DuckDB is to read them."""

import csv as csv_module
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.encodings import (
    UTF8,
    as_utf8,
    encoding_of,
    has_two_line_ends,
    opened,
    packing_of,
    with_one_line_end,
)
from pragmatiq_builder.ingest.settings import Csv
from pragmatiq_builder.ingest.sql import text, texts
from pragmatiq_triton.errors import ConfigError, DataError
from pragmatiq_triton.listing import one_line

if TYPE_CHECKING:
    import duckdb

DELIMITERS = (",", ";", "\t", "|")
MOST_LINE_BYTES = 2 << 20
_SAMPLE = 1 << 20
_LOOKED_AT, _MOST_TITLES, _MOST_LINES = 200, 50, 0.5


class TitleLinesError(ConfigError):
    """A text table begins with ``skip`` lines above the names of its columns, and no setting says so."""

    def __init__(self, where: str, skip: int, first: str) -> None:
        lines = "its first line is no line" if skip == 1 else f"its first {skip} lines are no lines"
        super().__init__(
            f"{where}: {lines} of column names ({one_line(first)[:60]!r}); add csv: {{skip: {skip}}}, or csv: "
            "{header: true} if the first line has the names"
        )
        self.skip = skip


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
        ConfigError: nothing tells the delimiter, or there seems to be no header;
            :class:`TitleLinesError` if it is further below.
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
        if csv.header is None and not csv.skip and (skip := _title_lines(readable[-1], csv)):
            title = next((line for line in _sample(readable[-1]).splitlines() if line.strip()), "")
            raise TitleLinesError(f"{where}: {file.name}", skip, title)
        if has_two_line_ends(readable[-1], csv.skip):
            readable[-1] = with_one_line_end(readable[-1], work)
            notes.append(f"{file.name} has lines that end with CRLF and such that end with LF; all are read as LF")
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


def _title_lines(file: Path, csv: Csv) -> int:
    """Lines above the names of the columns: blank ones, and those that have less columns than the rows; 0 if none.

    Without a doubt alone: most lines have as many columns as each other, the first line fewer or half of them empty,
    and a line below it has them all and no number.
    """
    lines = _sample(file).splitlines()[:_LOOKED_AT]
    best = (0.0, 0, list[list[str]]())
    for delimiter in [csv.delimiter] if csv.delimiter else DELIMITERS:
        try:
            rows = [next(csv_module.reader([line], delimiter=delimiter, quotechar=csv.quote), []) for line in lines]
        except csv_module.Error:
            continue
        widths = Counter(len(row) for row in rows if len(row) > 1)
        for width, n in widths.most_common(1):
            best = max(best, (n / len(rows), width, rows), key=lambda each: each[:2])
    share, width, rows = best
    if share < _MOST_LINES or not _is_title(rows[0], width):
        return 0
    is_names = (
        len(row) == width and all(cell.strip() and not _is_number(cell) for cell in row) for row in rows[:_MOST_TITLES]
    )
    return next((at for at, found in enumerate(is_names) if found), 0)


def _is_title(row: list[str], width: int) -> bool:
    n_filled = sum(bool(cell.strip()) for cell in row)
    return len(row) < width or width - n_filled >= max(2, width / 2)


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
