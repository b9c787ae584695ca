"""Times as spreadsheets count them: days in local time since 1899-12-30, or since 1904-01-01."""

from datetime import date, timedelta
from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.settings import TimeColumn
from pragmatiq_triton.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

SPREADSHEET_1970 = {"excel": 25_569, "excel1904": 24_107}
"""The day of 1970-01-01, by the calendar."""
_EXCEL_9999 = 2_958_465
_EXCEL_USUAL = (10_959, 51_136)
"""Days of a spreadsheet between 1930 and 2040."""
_FEW_NUMBERS = 20


def spreadsheet_moment(unit: str) -> str:
    """SQL of the local timestamp, ``{0}`` for the column; to whole milliseconds, since days are written rounded."""
    number = _double("{0}")
    moment = f"make_timestamp(CAST(round(({number} - {SPREADSHEET_1970[unit]}) * 86400000) AS BIGINT) * 1000)"
    return f"CASE WHEN {number} BETWEEN {1 if unit == 'excel' else 0} AND {_EXCEL_9999} THEN {moment} END"


def may_be_spreadsheet(column: str) -> str:
    """SQL: whether a value may be days of a spreadsheet; false or null if not."""
    return f"{_double(column)} BETWEEN {_EXCEL_USUAL[0]} AND {_EXCEL_USUAL[1]}"


def has_spreadsheet_seconds(connection: "duckdb.DuckDBPyConnection", table: str, column: str, where: str) -> bool:
    """Whether numbers are days of a spreadsheet beyond a doubt: between 1990 and 2040, and to the second.

    Amounts with two digits would pass for whole seconds, so that most values need more digits.
    """
    number = _double(column)
    row = run(
        connection,
        f"SELECT count(*), count(*) FILTER (n BETWEEN 32874 AND {_EXCEL_USUAL[1]} "
        "AND abs(n * 86400 - round(n * 86400)) < 0.05), count(*) FILTER (abs(n * 1000 - round(n * 1000)) > 1e-4) "
        f"FROM (SELECT {number} AS n FROM {table}) WHERE n IS NOT NULL",
        where,
    ).fetchone()
    return bool(row and row[0] >= _FEW_NUMBERS and row[1] == row[0] and row[2] >= 0.5 * row[0])


def refuse_spreadsheet(
    connection: "duckdb.DuckDBPyConnection", table: str, column: str, setting: TimeColumn, where: str
) -> None:
    """ConfigError where most values may be days of a spreadsheet: small numbers may as well be anything else."""
    row = run(connection, f"SELECT median({_double(column)}) FROM {table}", where).fetchone()
    if row and row[0] is not None and _EXCEL_USUAL[0] <= row[0] <= _EXCEL_USUAL[1]:
        day = date(1899, 12, 30) + timedelta(days=int(row[0]))
        raise ConfigError(
            f"{where}: {setting.column}: numbers such as {row[0]:.10g} are no times in s, ms, us or ns, and may be "
            f"days of a spreadsheet ({int(row[0])} is {day}); add unit: excel, or unit: excel1904 if its calendar "
            f"begins in 1904 ({day + timedelta(days=1462)})"
        )


def _double(column: str) -> str:
    """A number whose fraction a point or a comma begins."""
    return f"TRY_CAST(replace(CAST({column} AS VARCHAR), ',', '.') AS DOUBLE)"
