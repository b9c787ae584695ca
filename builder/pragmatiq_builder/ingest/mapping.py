"""From a table's own columns to those of the raw contract: one view per table, and what makes a row a bad one."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.clocks import count_doubtful
from pragmatiq_builder.ingest.label_notes import label_notes
from pragmatiq_builder.ingest.load import FILE, HASH, ROW, AnyTable, Loaded
from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.settings import (
    ALL,
    EventTable,
    FieldColumn,
    LabelTable,
    ProfileTable,
    SourceColumn,
    TimeColumn,
    field_columns,
    label_column,
    time_column,
    user_column,
)
from pragmatiq_builder.ingest.spreadsheets import may_be_spreadsheet
from pragmatiq_builder.ingest.sql import text
from pragmatiq_builder.ingest.times import TimeReader, time_reader
from pragmatiq_builder.ingest.values import (
    Check,
    Entry,
    is_written,
    label_class,
    map_of,
    map_of_column,
    number_text,
    plain_text,
    user_text,
)
from pragmatiq_triton.time_range import LIVES, TimeRange

if TYPE_CHECKING:
    import duckdb


@dataclass
class Mapped:
    """A view of a table's rows in the raw contract's columns.

    Attributes:
        loaded: the rows.
        view: its name; beside the contract's columns it has :data:`ROW`, :data:`FILE`, :data:`HASH`, and ``bad``: the
            place in ``checks`` of what is wrong with the row, or null.
        columns: the contract's columns that it has; events have ``f0``, ``f1`` ... and ``all_of`` in place of fields.
        entries: the fields of events, in the order of ``f0``, ``f1`` ...
        checks: what makes a row a bad one, in the order in which they are asked.
        times: how each column of moments is read, in words.
        notes: counts of what was read with a doubt.
    """

    loaded: Loaded
    view: str
    columns: list[str]
    entries: list[Entry] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    times: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def columns_of(table: AnyTable) -> list[str]:
    """The table's columns that the settings name, in their order."""
    names = [user_column(table.user).column]
    if isinstance(table, EventTable):
        names += [time_column(table.time).column]
        names += [table.source.column] if isinstance(table.source, SourceColumn) else []
        names += [each.column for each in field_columns(table.fields).values()]
    elif isinstance(table, ProfileTable):
        names += [time_column(table.as_of).column] if table.as_of else []
        names += [each.column for each in field_columns(table.attributes).values()]
        names += [time_column(each).column for each in table.lifelong.values()]
    else:
        names += [time_column(each).column for each in (table.at, table.event_time) if each]
        names += [label_column(table.label).column]
    event_id = getattr(table, "event_id", None)
    return list(dict.fromkeys([*names, *([event_id] if event_id else [])]))


def map_table(
    connection: "duckdb.DuckDBPyConnection", table: AnyTable, loaded: Loaded, plausible: TimeRange, number: int
) -> Mapped:
    """The view ``rows_<number>`` over what was loaded; raises ConfigError where nothing tells how a column is read."""
    return _Mapper(connection, loaded, plausible, number).of(table)


class _Mapper:
    def __init__(
        self, connection: "duckdb.DuckDBPyConnection", loaded: Loaded, plausible: TimeRange, number: int
    ) -> None:
        self._connection = connection
        self._loaded = loaded
        self._plausible = plausible
        self._found = Mapped(loaded, f"rows_{number}", [])
        self._selected: dict[str, str] = {}

    def of(self, table: AnyTable) -> Mapped:
        nothing = " AND ".join(f"{self._sql(column)} IS NULL" for column in self._loaded.kinds)
        is_json = self._loaded.scan.format == "json"
        user = user_column(table.user)
        # What is no JSON comes from DuckDB as a row of nulls.
        self._check(nothing, "no JSON object, or an empty one" if is_json else "an empty row", user.column)
        self._selected["user_id"] = user_text(*self._column(user.column), user.whole_number)
        self._check("user_id IS NULL", "no customer", user.column)
        if isinstance(table, EventTable):
            self._events(table)
        elif isinstance(table, ProfileTable):
            self._profiles(table)
        else:
            self._labels(table)
        if event_id := getattr(table, "event_id", None):
            self._selected["event_id"] = f"nullif(trim(CAST({self._sql(event_id)} AS VARCHAR)), '')"
        return self._view()

    def _events(self, table: EventTable) -> None:
        self._time("ts", time_column(table.time), self._plausible)
        if isinstance(table.source, SourceColumn):
            name = table.source.column
            self._selected["source"] = f"nullif(trim(CAST({self._sql(name)} AS VARCHAR)), '')"
            self._check("source IS NULL", "no source", name)
        else:
            self._selected["source"] = text(table.source)
        self._found.entries, all_of = self._pairs(field_columns(table.fields), is_events=True)
        self._selected |= {f"f{at}": entry.sql for at, entry in enumerate(self._found.entries)}
        if all_of is not None:
            self._selected["all_of"] = all_of

    def _profiles(self, table: ProfileTable) -> None:
        if table.as_of:
            self._time("as_of", time_column(table.as_of), self._plausible)
        else:
            self._selected["as_of"] = "CAST(NULL AS TIMESTAMP)"
        self._selected["attributes"] = map_of(*self._pairs(field_columns(table.attributes), is_events=False))
        self._selected["lifelong"] = self._milestones(table.lifelong)

    def _labels(self, table: LabelTable) -> None:
        if table.at:
            self._time("eval_ts", time_column(table.at), self._plausible)
        if table.event_time:
            self._time("ts", time_column(table.event_time), self._plausible)
        label = label_column(table.label)
        self._selected["label"] = label_class(self._sql(label.column), label, self._loaded.where)
        if label.positive or label.negative:
            self._found.notes += label_notes(self._connection, self._loaded, label)
        self._check(f"label IS NULL AND NOT {self._is_written(label.column)}", "no label", label.column)
        self._check("label IS NULL", "label is neither of the two", label.column)

    def _time(self, name: str, time: TimeColumn, plausible: TimeRange) -> None:
        reader = self._reader(time)
        self._selected[name] = reader.of(self._sql(time.column))
        self._check(f"{name} IS NULL AND NOT {self._is_written(time.column)}", "no time", time.column)
        column, kind = self._column(time.column)
        if kind == "VARCHAR" and time.unit is None:
            # CASE, since AND would read every row's number.
            maybe = f"CASE WHEN {name} IS NULL THEN {may_be_spreadsheet(column)} ELSE false END"
            reason = f"time is a number, as days of a spreadsheet (Excel) are, and the others are {reader.found}"
            self._check(maybe, reason, time.column)
        self._check(f"{name} IS NULL", f"time cannot be read as {reader.found}", time.column)
        earliest, latest = (f"make_timestamp({at})" for at in (plausible.earliest, plausible.latest))
        self._check(f"{name} NOT BETWEEN {earliest} AND {latest}", f"time is not {plausible}", time.column)

    def _reader(self, time: TimeColumn) -> TimeReader:
        column, kind = self._column(time.column)
        reader = time_reader(self._connection, self._loaded.name, column, kind, time, self._loaded.where)
        self._found.times[time.column] = reader.found
        doubtful = count_doubtful(self._connection, reader, self._loaded.name, column, self._loaded.where)
        for what, n in doubtful.items():
            self._found.notes.append(
                f"{self._loaded.where}: {time.column}: of {n:,} times in {reader.zone} the local time {what}"
            )
        return reader

    def _pairs(self, named: dict[str, FieldColumn], is_events: bool) -> tuple[list[Entry], str | None]:
        """Single entries, of events f0, f1 ... in the view; and the map of all others if there is one."""
        entries, all_of = [], None
        for name, each in named.items():
            column, kind = self._column(each.column)
            if name == ALL:
                all_of = map_of_column(column, kind, f"{self._loaded.where}: {each.column}")
            elif each.decimal is None:
                entries.append(Entry(name, plain_text(column, kind)))
            else:
                number = number_text(column, kind, each)
                entries.append(Entry(name, number))
                read = f"f{len(entries) - 1}" if is_events else f"({number})"
                self._check(f"{read} IS NULL AND {self._is_written(each.column)}", "not a number", each.column)
        return entries, all_of

    def _milestones(self, named: dict[str, str | TimeColumn]) -> str:
        parts = []
        for name, given in named.items():
            time = time_column(given)
            if name == ALL:
                parts.append(f"coalesce({_listed(self._sql(time.column))}, [])")
                continue
            read = self._reader(time).of(self._sql(time.column))
            earliest = f"make_timestamp({LIVES.earliest})"
            self._check(
                f"(({read}) IS NULL OR ({read}) < {earliest}) AND {self._is_written(time.column)}",
                "time cannot be read",
                time.column,
            )
            parts.append(f"[{{'key': {text(name)}, 'ts': {read}}}]")
        joined = "list_concat(" + ", ".join(parts) + ")" if len(parts) > 1 else parts[0] if parts else None
        if joined is None:
            return 'CAST([] AS STRUCT("key" VARCHAR, ts TIMESTAMP)[])'
        return f"list_filter({joined}, lambda m: m.ts IS NOT NULL)"

    def _view(self) -> Mapped:
        found = self._found
        found.columns = list(self._selected)
        columns = [f"c{at}" for at in range(len(self._loaded.kinds))]
        selected = ", ".join([ROW, FILE, HASH, *columns, *(f"{sql} AS {name}" for name, sql in self._selected.items())])
        cases = " ".join(f"WHEN {check.condition} THEN {place}" for place, check in enumerate(found.checks))
        run(
            self._connection,
            f"CREATE VIEW {found.view} AS SELECT *, CASE {cases} END AS bad FROM "
            f"(SELECT {selected} FROM {self._loaded.name})",
            self._loaded.where,
        )
        return found

    def _check(self, condition: str, reason: str, column: str) -> None:
        self._found.checks.append(Check(condition, reason, column))

    def _column(self, column: str) -> tuple[str, str]:
        """Its SQL and its type."""
        return self._loaded.sql(column), self._loaded.kinds[column]

    def _sql(self, column: str) -> str:
        return self._loaded.sql(column)

    def _is_written(self, column: str) -> str:
        return is_written(self._loaded.sql(column))


def _listed(column: str) -> str:
    return f"list_transform({column}, lambda m: {{'key': CAST(m.key AS VARCHAR), 'ts': CAST(m.ts AS TIMESTAMP)}})"
