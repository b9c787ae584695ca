"""``ingest.yaml``: which columns of which tables are customers, times, fields, attributes and labels.

A name in ``table`` that is relative lies beside the YAML file. Everything that a table of its own does not say has one
default for all tables, so the smallest entry is a table, a customer, a time and fields.
"""

from pathlib import Path
from typing import Literal

import msgspec

from pragmatiq_builder.settings import load_settings
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange

Format = Literal["csv", "json", "parquet", "arrow"]
Duplicates = Literal["drop", "keep"]
UNKNOWN = "???"
"""Stands where init could not guess; ingest refuses it."""
ALL = "*"
"""As the name of a field: every entry of a map or of a struct."""


class TimeColumn(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A column of moments.

    Attributes:
        column: its name.
        format: ``auto``, ``iso``, the order of a date's parts (``ymd``, ``dmy``, ``mdy``; any separator, two or four
            digits of a year, with or without a time of day), or a strptime format such as ``%d/%m/%Y %H:%M``.
        unit: of numbers since 1970: ``s``, ``ms``, ``us``, ``ns``; found by their size if absent. ``excel``: days as
            spreadsheets count them, 1 is 1900-01-01, in local time; ``excel1904``: 0 is 1904-01-01.
        zone: of times that say none themselves, as ``Europe/London``; UTC if absent.
    """

    column: str
    format: str = "auto"
    unit: Literal["s", "ms", "us", "ns", "excel", "excel1904"] | None = None
    zone: str | None = None


class FieldColumn(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A column of values; with ``decimal`` it holds numbers, and a row with any other value there is a bad one.

    Attributes:
        column: its name.
        decimal: the mark before the fraction, ``.`` or ``,``.
        thousands: the mark between groups of digits, taken away: ``.``, ``,``, ``'`` or a space.
    """

    column: str
    decimal: Literal[".", ","] | None = None
    thousands: Literal["", ".", ",", "'", " "] = ""


class UserColumn(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The column of customers; ``whole_number`` takes away the ``.0`` that a float column left behind an id."""

    column: str
    whole_number: bool = False


class SourceColumn(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A column that says the source of each event."""

    column: str


class LabelColumn(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The column of a label: which of its values mean 1 and which 0; the usual spellings if both are empty."""

    column: str
    positive: list[str | int] = []
    negative: list[str | int] = []


class Csv(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How a text table is written; what is absent is found in the file, and said."""

    delimiter: str | None = None
    quote: str = '"'
    encoding: str | None = None
    header: bool | None = None
    skip: int = 0


class Join(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Columns of another table, found by a key that is there once.

    Attributes:
        table: file, folder or pattern, as in ``events``.
        on: a column of that name in both, or ``{ours: theirs}``.
        columns: which of its columns are added.
    """

    table: str
    on: str | dict[str, str]
    columns: list[str]
    format: Format | None = None
    csv: Csv = Csv()


Fields = list[str] | dict[str, str | FieldColumn]


class Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where rows come from.

    Attributes:
        table: a file, a folder of parts or a pattern; or
        query: SQL, on ``database`` if that is given (a DuckDB or SQLite file, or ``postgresql://...``; ``$NAME`` is
            replaced by an environment variable).
        format: of the files; told by their names if absent.
        csv: how text tables are written.
        join: tables whose columns are added.
        where: SQL that is true of the rows that are wanted; the others are counted.
        user: the column of customers.
        duplicates: what becomes of rows that are the same in every column, or have the same ``event_id``.
    """

    table: str | None = None
    query: str | None = None
    database: str | None = None
    format: Format | None = None
    csv: Csv = Csv()
    join: list[Join] = []
    where: str | None = None
    user: str | UserColumn
    duplicates: Duplicates = "drop"


class EventTable(Table, frozen=True, kw_only=True):
    """A table of events of one source, or of the sources that a column names."""

    source: str | SourceColumn
    time: str | TimeColumn
    fields: Fields
    event_id: str | None = None


class ProfileTable(Table, frozen=True, kw_only=True):
    """A table with one row per customer; of several the one with the newest ``as_of``."""

    as_of: str | TimeColumn | None = None
    attributes: Fields = []
    lifelong: dict[str, str | TimeColumn] = {}


class LabelTable(Table, frozen=True, kw_only=True):
    """Labels of customers at moments (``at``), or of events (``event_time``, and ``event_id`` if events have one)."""

    label: str | LabelColumn
    at: str | TimeColumn | None = None
    event_time: str | TimeColumn | None = None
    event_id: str | None = None


class Limits(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Shares of a table's rows from 0 to 1 over which nothing is written.

    Attributes:
        bad_rows: that cannot be read.
        duplicates: that are there more than once.
        unknown_users: labels whose customer has no event.
    """

    bad_rows: float = 0.02
    duplicates: float = 0.1
    unknown_users: float = 0.5

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {getattr(self, name)}")


class IngestSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file.

    Attributes:
        events: at least one table.
        profiles: the table of customers, if there is one.
        labels: by name of the task.
        limits: what is still put up with.
        earliest_time: a date; what lies before it is a bad row.
    """

    events: list[EventTable]
    profiles: ProfileTable | None = None
    labels: dict[str, LabelTable] = {}
    limits: Limits = Limits()
    earliest_time: str | None = None

    @property
    def times(self) -> TimeRange:
        """The plausible times."""
        return PLAUSIBLE.with_bounds(self.earliest_time, None)


def load_ingest_settings(path: Path) -> IngestSettings:
    """The settings in the YAML file ``path``.

    Raises:
        ConfigError: the file is no YAML, a setting is unknown or does not fit; the message says where.
    """
    settings = load_settings(IngestSettings, path, {})
    _check(path, settings)
    return settings


def time_column(given: str | TimeColumn) -> TimeColumn:
    """The long form of a time's setting."""
    return given if isinstance(given, TimeColumn) else TimeColumn(given)


def field_columns(given: Fields) -> dict[str, FieldColumn]:
    """The long form of the setting of fields: by their name in the raw data."""
    named = {name: name for name in given} if isinstance(given, list) else given
    return {name: FieldColumn(each) if isinstance(each, str) else each for name, each in named.items()}


def label_column(given: str | LabelColumn) -> LabelColumn:
    """The long form of the setting of a label."""
    return given if isinstance(given, LabelColumn) else LabelColumn(given)


def user_column(given: str | UserColumn) -> UserColumn:
    """The long form of the setting of the customer's column."""
    return given if isinstance(given, UserColumn) else UserColumn(given)


def _check(path: Path, settings: IngestSettings) -> None:
    if not settings.events:
        raise ConfigError(f"{path}: events: expected at least one table")
    settings.times  # noqa: B018
    for where, table in named_tables(settings):
        if (table.table is None) == (table.query is None):
            raise ConfigError(f"{path}: {where}: expected either table or query")
        if table.database is not None and table.query is None:
            raise ConfigError(f"{path}: {where}: database needs a query, such as SELECT * FROM cards")
        for time in _times(table):
            _check_time(f"{path}: {where}", time)
        fields = table.fields if isinstance(table, EventTable) else getattr(table, "attributes", [])
        if isinstance(fields, list) and len(set(fields)) < len(fields):
            raise ConfigError(f"{path}: {where}: a field is there twice")
        for name, field in field_columns(fields).items():
            if field.thousands and field.thousands == (field.decimal or "."):
                raise ConfigError(f"{path}: {where}: {name}: decimal and thousands are the same mark")
            if field.thousands and field.decimal is None:
                raise ConfigError(
                    f"{path}: {where}: {name}: thousands needs decimal, which says that these are numbers"
                )
        if isinstance(table, LabelTable) and (table.at is None) == (table.event_time is None):
            raise ConfigError(
                f"{path}: {where}: expected either at (labels of customers) or event_time (labels of events)"
            )
        if isinstance(table, LabelTable) and table.event_id is not None and table.event_time is None:
            raise ConfigError(f"{path}: {where}: event_id is of labels of events, which have event_time")
    for name in settings.labels:
        if not name or name.startswith((".", "_")) or "/" in name:
            raise ConfigError(f"{path}: labels: {name!r} cannot be the name of a file; use letters, digits and _")


def _check_time(where: str, time: TimeColumn) -> None:
    if time.format not in ("auto", "iso", "ymd", "dmy", "mdy") and "%" not in time.format:
        raise ConfigError(
            f"{where}: {time.column}: format: expected auto, iso, ymd, dmy, mdy or a strptime format such as "
            f"%d/%m/%Y, got {time.format!r}"
        )
    if time.unit is not None and time.format != "auto":
        raise ConfigError(f"{where}: {time.column}: unit and format exclude each other: a number or a text")
    if time.zone is not None:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(time.zone)
        except (KeyError, OSError, ValueError):
            raise ConfigError(
                f"{where}: {time.column}: zone: expected a name such as Europe/London, got {time.zone!r}"
            ) from None


def named_tables(settings: IngestSettings) -> list[tuple[str, EventTable | ProfileTable | LabelTable]]:
    """All tables with the setting that holds them: events, then profiles, then labels."""
    events = [(f"events[{number}]", table) for number, table in enumerate(settings.events)]
    profiles = [("profiles", settings.profiles)] if settings.profiles else []
    return [*events, *profiles, *((f"labels.{name}", table) for name, table in settings.labels.items())]


def _times(table: EventTable | ProfileTable | LabelTable) -> list[TimeColumn]:
    if isinstance(table, EventTable):
        given = [table.time]
    elif isinstance(table, ProfileTable):
        given = [*([table.as_of] if table.as_of else []), *table.lifelong.values()]
    else:
        given = [time for time in (table.at, table.event_time) if time is not None]
    return [time_column(each) for each in given]
