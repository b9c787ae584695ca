"""Columns of moments: their format, unit and zone are found in the whole column, and read by one expression."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.settings import TimeColumn
from pragmatiq_builder.ingest.spreadsheets import SPREADSHEET_1970, refuse_spreadsheet, spreadsheet_moment
from pragmatiq_builder.ingest.sql import text, texts
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.time_range import NANOSECONDS

if TYPE_CHECKING:
    import duckdb

_WORDS = {"ymd": "year, month, day", "dmy": "day, month, year", "mdy": "month, day, year"}
ORDERS = {"ymd": ("%Y", "%m", "%d"), "dmy": ("%d", "%m", "%Y"), "mdy": ("%m", "%d", "%Y")}
_SEPARATORS = ("/", "-", ".", " ", "")
_NAMED = {
    "dmy": ("%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d %B %Y", "%d-%b-%y", "%d%b%Y"),
    "mdy": ("%b %d %Y", "%B %d %Y", "%b %d, %Y", "%B %d, %Y"),
    "ymd": ("%Y %b %d", "%Y-%b-%d"),
}
_OF_DAY = ("", " %H:%M:%S", " %H:%M", "T%H:%M:%S", " %H:%M:%S.%f", " %I:%M:%S %p", " %I:%M %p", "T%H:%M", " %H.%M")
_PACKED = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Digits of times that are written without separators."""
_SAMPLE_ROWS = 2_000
_OFFSET = r":\d\d.*(?:[zZ]|[+-]\d\d(?::?\d\d)?)$"
_SPAN = {unit: (365 * 86_400 * 1e9 / per, 130 * 365 * 86_400 * 1e9 / per) for unit, per in NANOSECONDS.items()}
"""Numbers of a unit between 1971 and 2100."""


@dataclass(frozen=True)
class TimeReader:
    """How a column of moments is read.

    Attributes:
        sql: its UTC timestamp, null where it cannot be read; ``{0}`` stands for the column.
        found: what was found out, in words: ``dmy, Europe/London``.
        setting: the ``format`` or ``unit`` that says the same.
        local: the local timestamp before its zone is applied, if one is.
        narrow: the local timestamp of values in the formats that a sample has; the others are null.
    """

    sql: str
    found: str
    setting: dict[str, str]
    zone: str | None = None
    local: str | None = None
    narrow: str = ""

    def of(self, column: str) -> str:
        """The expression for the column ``column``, which is SQL."""
        return self.sql.replace("{0}", column)


def time_reader(
    connection: "duckdb.DuckDBPyConnection", table: str, column: str, kind: str, setting: TimeColumn, where: str
) -> TimeReader:
    """How to read ``column`` (SQL) of ``table``, of DuckDB's type ``kind``.

    Raises:
        ConfigError: nothing fits, or the day and the month cannot be told apart; the message says what to set.
    """
    kind = kind.upper()
    if kind == "TIMESTAMP WITH TIME ZONE":
        return TimeReader("timezone('UTC', {0})", "timestamps with a zone", {})
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        what = "dates" if kind == "DATE" else "timestamps"
        # A cast would round nanoseconds up.
        sql = "make_timestamp(epoch_ns({0}) // 1000)" if kind == "TIMESTAMP_NS" else "CAST({0} AS TIMESTAMP)"
        return _local(sql, what, {}, setting.zone)
    if _is_number(kind):
        return _of_numbers(connection, table, column, setting, where)
    if kind != "VARCHAR":
        raise ConfigError(f"{where}: {setting.column} is {kind}; expected timestamps, dates, numbers or text")
    if setting.unit is not None:
        return _unit(setting.unit, setting.zone)
    if setting.format in ORDERS:
        return _order(connection, table, column, setting.format, setting.zone)
    if setting.format == "iso":
        return _iso(connection, table, column, setting.zone, where)
    if setting.format != "auto":
        return _local(
            f"try_strptime({{0}}, {text(setting.format)})", setting.format, {"format": setting.format}, setting.zone
        )
    return _found(connection, table, column, setting, where)


def _found(
    connection: "duckdb.DuckDBPyConnection", table: str, column: str, setting: TimeColumn, where: str
) -> TimeReader:
    """What reads most of a sample; between day and month first, what the whole column tells."""
    sample = [row[0] for row in run(connection, _sample(table, column), where).fetchall()]
    if not sample:
        return _local("TRY_CAST({0} AS TIMESTAMP)", "no values", {}, setting.zone)
    digits = sum(value.replace(".", "", 1).isdigit() for value in sample)
    if digits >= 0.9 * len(sample):
        return _of_numbers(connection, table, column, setting, where)
    readers = [
        _iso(connection, table, column, setting.zone, where),
        *(_order(connection, table, column, order, setting.zone) for order in ORDERS),
    ]
    counts = ", ".join(f"count({reader.of('v')})" for reader in readers)
    n_read = run(connection, f"SELECT {counts} FROM ({_sample(table, column)}) s(v)", where).fetchone()
    assert n_read
    best = max(n_read)
    if best == 0:
        refuse_spreadsheet(connection, table, column, setting, where)
        raise ConfigError(
            f"{where}: {setting.column}: no time could be read, such as {sample[0]!r}; add format: and a strptime "
            "format"
        )
    fitting = {reader.setting["format"]: reader for reader, n in zip(readers, n_read, strict=True) if n == best}
    if "iso" in fitting:
        return fitting["iso"]
    return fitting[_order_of(connection, table, column, fitting, f"{where}: {setting.column}")]


def _order_of(
    connection: "duckdb.DuckDBPyConnection", table: str, column: str, fitting: dict[str, TimeReader], where: str
) -> str:
    """Of several orders that read a sample, the one that reads most of the column; any, if they mean the same."""
    if len(fitting) == 1:
        return next(iter(fitting))
    moments = {name: reader.narrow.replace("{0}", column) for name, reader in fitting.items()}
    counts = ", ".join(f"count({moment})" for moment in moments.values())
    n_read = run(connection, f"SELECT {counts} FROM {table}", where).fetchone()
    assert n_read
    best = [name for name, n in zip(moments, n_read, strict=True) if n == max(n_read)]
    differ = " OR ".join(f"{moments[best[0]]} <> {moments[name]}" for name in best[1:]) or "false"
    row = run(connection, f"SELECT min({column}) FROM {table} WHERE {differ}", where).fetchone()
    if row and row[0] is not None:
        raise ConfigError(
            f"{where}: {row[0]!r} may be {' or '.join(_WORDS[name] for name in best)}, and no other value tells; add "
            f"{' or '.join(f'format: {name}' for name in best)}"
        )
    return best[0]


def _sample(table: str, column: str) -> str:
    """Values from everywhere in the column, the same each time."""
    return f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY hash({column}) LIMIT {_SAMPLE_ROWS}"


def _of_numbers(
    connection: "duckdb.DuckDBPyConnection", table: str, column: str, setting: TimeColumn, where: str
) -> TimeReader:
    if setting.unit is not None:
        return _unit(setting.unit, setting.zone)
    if setting.format != "auto":
        as_text = "CAST({0} AS VARCHAR)"
        return _local(
            f"try_strptime({as_text}, {text(setting.format)})", setting.format, {"format": setting.format}, setting.zone
        )
    for width, packed in _PACKED.items():
        form = f"try_strptime(CAST({{0}} AS VARCHAR), {text(packed)})"
        one = form.replace("{0}", column)
        row = run(
            connection,
            f"SELECT count(*), count(*) FILTER (length(CAST({column} AS VARCHAR)) = {width} "
            f"AND year({one}) BETWEEN 1900 AND 2100) FROM {table} WHERE {column} IS NOT NULL",
            where,
        ).fetchone()
        if row and row[0] and row[1] >= 0.9 * row[0]:
            return _local(form, packed, {"format": packed}, setting.zone)
    row = run(connection, f"SELECT median(TRY_CAST({column} AS DOUBLE)) FROM {table}", where).fetchone()
    median = row[0] if row else None
    if median is None:
        return _unit("us")
    for unit, (least, most) in _SPAN.items():
        if least <= median <= most:
            return _unit(unit)
    refuse_spreadsheet(connection, table, column, setting, where)
    raise ConfigError(
        f"{where}: {setting.column}: numbers such as {median:.0f} are no times between 1971 and 2100 in s, ms, us or "
        "ns; add unit: or format:"
    )


def _unit(unit: str, zone: str | None = None) -> TimeReader:
    if unit in SPREADSHEET_1970:
        return _of_spreadsheet(unit, zone)
    # Decimal keeps microseconds that a float has not.
    per = {"s": "* 1000000", "ms": "* 1000", "us": "", "ns": "/ 1000"}[unit]
    number = f"CAST(floor(TRY_CAST({{0}} AS DECIMAL(28, 6)) {per}) AS BIGINT)"
    plausible = f"abs(TRY_CAST({{0}} AS DOUBLE)) < {2.5e17 * 1e3 / NANOSECONDS[unit]:.0f}"
    return TimeReader(f"CASE WHEN {plausible} THEN make_timestamp({number}) END", f"numbers in {unit}", {"unit": unit})


def _of_spreadsheet(unit: str, zone: str | None) -> TimeReader:
    calendar = "" if unit == "excel" else ", calendar of 1904"
    return _local(spreadsheet_moment(unit), f"days of a spreadsheet{calendar}", {"unit": unit}, zone)


def _iso(connection: "duckdb.DuckDBPyConnection", table: str, column: str, zone: str | None, where: str) -> TimeReader:
    row = run(
        connection, f"SELECT count(*) FILTER (regexp_matches({column}, {text(_OFFSET)})) FROM {table}", where
    ).fetchone()
    # DuckDB takes 28-02-25 for a day of the year 28.
    dated = "CASE WHEN regexp_matches({0}, '^ *[0-9]{4}-') THEN TRY_CAST({0} AS TIMESTAMP) END"
    local = _local(dated, "iso", {"format": "iso"}, zone)
    if not row or not row[0]:
        return local
    has_offset = f"regexp_matches({{0}}, {text(_OFFSET)})"
    sql = f"CASE WHEN {has_offset} THEN timezone('UTC', TRY_CAST({{0}} AS TIMESTAMPTZ)) ELSE {local.sql} END"
    return TimeReader(sql, f"{local.found}, {row[0]:,} with an offset of their own", {"format": "iso"})


def _order(
    connection: "duckdb.DuckDBPyConnection", table: str, column: str, order: str, zone: str | None
) -> TimeReader:
    """All separators and times of day; the formats of the first values are tried first."""
    formats = _formats(order)
    sample = f"({_sample(table, column)})"
    four = "regexp_matches(v, '[0-9]{4}')"
    hits = ", ".join(
        f"count(try_strptime(v, {text(form)})) FILTER ({four if '%Y' in form else 'NOT ' + four})" for form in formats
    )
    row = run(connection, f"SELECT {hits} FROM {sample} s(v)", order).fetchone()
    assert row
    by_use = sorted(zip(row, range(len(formats)), strict=True), key=lambda each: (-each[0], each[1]))
    ordered = [formats[place] for _, place in by_use]
    seen = [formats[place] for n, place in by_use if n]
    longs, shorts = ([form for form in ordered if ("%Y" in form) is long] for long in (True, False))
    # The year 24 is 2024, and never the year 24.
    sql = (
        f"CASE {_usual(seen)} WHEN regexp_matches({{0}}, '[0-9]{{4}}') THEN try_strptime({{0}}, {texts(longs)}) "
        f"ELSE try_strptime({{0}}, {texts(shorts)}) END"
    )
    narrow = f"try_strptime({{0}}, {texts(seen)})" if seen else "CAST(NULL AS TIMESTAMP)"
    return replace(_local(sql, order, {"format": order}, zone), narrow=narrow)


def _usual(seen: list[str]) -> str:
    """The most frequent format first, because one format is read several times as fast as a list of them."""
    if not seen:
        return ""
    moment = f"try_strptime({{0}}, {text(seen[0])})"
    return f"WHEN year({moment}) >= 1000 THEN {moment}"


def _formats(order: str) -> list[str]:
    parts = ORDERS[order]
    dates = [separator.join(parts) for separator in _SEPARATORS if separator]
    dates += [date.replace("%Y", "%y") for date in dates]
    return [date + time for date in [*dates, *_NAMED[order]] for time in _OF_DAY]


def _local(sql: str, found: str, setting: dict[str, str], zone: str | None) -> TimeReader:
    """Times without a zone are of ``zone``, or UTC."""
    if zone is None or zone == "UTC":
        return TimeReader(sql, f"{found}, as UTC", setting)
    in_utc = f"timezone('UTC', timezone({text(zone)}, {sql}))"
    return TimeReader(in_utc, f"{found}, {zone}", setting, zone, sql)


def _is_number(kind: str) -> bool:
    return kind.startswith(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U", "FLOAT", "DOUBLE", "DECIMAL"))
