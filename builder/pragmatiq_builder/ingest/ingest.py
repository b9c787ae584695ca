"""The whole way: tables are loaded, mapped, rid of bad rows and duplicates, sorted and written; and it is all told."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pragmatiq_builder.ingest.database import connected
from pragmatiq_builder.ingest.left_out import (
    OLDER,
    SAME,
    SAME_ID,
    UNKNOWN,
    LeftOut,
    find_bad,
    leave_out_contradictions,
    leave_out_duplicates,
    leave_out_older,
    leave_out_unknown,
    spelled_twice,
    tell_alike,
)
from pragmatiq_builder.ingest.load import AnyTable, load_table
from pragmatiq_builder.ingest.mapping import Mapped, columns_of, map_table
from pragmatiq_builder.ingest.queries import PERCENT, Steps
from pragmatiq_builder.ingest.rejects import Rejects, require_ours
from pragmatiq_builder.ingest.report import (
    FILE,
    IngestReport,
    LimitsExceededError,
    TableReport,
    customer_numbers,
    field_reports,
    label_numbers,
    months,
    profile_numbers,
    source_reports,
)
from pragmatiq_builder.ingest.settings import (
    IngestSettings,
    Limits,
    ProfileTable,
    load_ingest_settings,
    named_tables,
)
from pragmatiq_builder.ingest.tables import Opener
from pragmatiq_builder.ingest.write import keep_customers, write_events, write_labels, write_profiles
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.replacing import replaced_folder
from pragmatiq_builder.writing import write_file
from pragmatiq_triton.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

_WORK = ".work"


def ingest(
    settings_file: Path,
    out: Path,
    *,
    rejected: Path | None = None,
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = Silent(),
) -> IngestReport:
    """Make a raw data folder ``out`` of the tables that ``settings_file`` names.

    Rows that cannot be used go to ``rejected`` (by default ``OUT.rejected.csv``) with their place and reason; what else
    was found out is in the report, which is also ``ingest.json`` in ``out``. The same tables give the same bytes.

    Args:
        settings_file: ``ingest.yaml``, see :class:`~pragmatiq_builder.ingest.settings.IngestSettings`.
        out: the folder to write; one that an earlier call wrote is replaced.
        rejected: the reject file; an older one is replaced.
        memory: what DuckDB may use, such as ``2GB``; four fifths of the machine's if absent. What does not fit is kept
            beside ``out`` while it works.
        threads: by default one per core.
        progress: hears of stages.

    Raises:
        ConfigError: settings that do not exist or do not fit the tables.
        DataError: a table that cannot be read at all.
        LimitsExceededError: too many bad rows; ``out`` stays as it was.
        MissingDependencyError: DuckDB, or the driver of a database, is not installed.
    """
    settings = load_ingest_settings(settings_file)
    rejects_file = rejected or out.with_name(f"{out.name}.rejected.csv")
    require_ours(rejects_file)
    with replaced_folder(out, "raw data folder", _require_ours, progress=progress) as new:
        work = new / _WORK
        (work / "utf8").mkdir(parents=True)
        with connected(work, memory, threads) as connection:
            opener = Opener(connection, settings_file.absolute().parent, work / "utf8")
            line = _Line(connection, opener, settings, new, progress)
            report = line.run()
            rejects_file.unlink(missing_ok=True)
            line.rejects.write(rejects_file)
        shutil.rmtree(work)
        if line.exceeded:
            raise LimitsExceededError(line.exceeded, report, rejects_file)
        write_file(new / FILE, report.to_json())
    return report


class _Line:
    """One run, table after table; ``exceeded`` says which limits are."""

    def __init__(
        self, connection: "duckdb.DuckDBPyConnection", opener: Opener, settings: IngestSettings, out: Path,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._opener = opener
        self._settings = settings
        self._out = out
        self._progress = progress
        self._tables: list[TableReport] = []
        self.rejects = Rejects(connection)
        self.exceeded: list[str] = []

    def run(self) -> IngestReport:
        named = named_tables(self._settings)
        n_events = len(self._settings.events)
        read = [self._read(where, table, number) for number, (where, table) in enumerate(named)]
        for mapped, left_out in read[:n_events]:
            self._tell(mapped, left_out)
        events = self._out / "events.parquet"
        n_rows = sum(table.written for table in self._tables)
        self._progress.stage("Sorting and writing events", n_rows)
        write_events(self._connection, read[:n_events], events, Steps(self._progress, n_rows))
        keep_customers(self._connection, events)
        for note in spelled_twice(self._connection, "customers"):
            self._note(note, table=0)
        more: dict[str, Any] = {"labels": {}}
        for (where, table), (mapped, left_out) in zip(named[n_events:], read[n_events:], strict=True):
            self._progress.stage(f"Writing {where}", None)
            if isinstance(table, ProfileTable):
                leave_out_older(self._connection, mapped, left_out)
                unknown = f"SELECT user_id FROM {mapped.view} ANTI JOIN customers USING (user_id)"
                tell_alike(self._connection, mapped, unknown, "customers")
                self._tell(mapped, left_out)
                write_profiles(self._connection, mapped, left_out, self._out / "profiles.parquet")
                more |= profile_numbers(self._connection, self._out / "profiles.parquet")
            else:
                leave_out_unknown(self._connection, mapped, left_out, "customers")
                leave_out_contradictions(self._connection, mapped, left_out)
                self._tell(mapped, left_out)
                task = where.removeprefix("labels.")
                file = self._out / "labels" / f"{task}.parquet"
                write_labels(self._connection, mapped, left_out, file)
                more["labels"][task] = n_labels, n_ones = label_numbers(self._connection, file)
                if n_ones in (0, n_labels):
                    which = "there are no labels" if not n_labels else f"all {n_labels:,} labels are {int(n_ones > 0)}"
                    self._note(f"{where}: {which}; finetune needs both 0 and 1")
        self._progress.stage("Counting what was written", None)
        sources = source_reports(self._connection, events)
        return IngestReport(
            tables=self._tables,
            sources=sources,
            fields=field_reports(self._connection, events, sources),
            by_month=months(self._connection, events),
            rejected=sum(sum(table.rejected.values()) for table in self._tables),
            **customer_numbers(self._connection),
            **more,
        )

    def _note(self, note: str, table: int = -1) -> None:
        """Say it, and in the report of a table, by default the newest."""
        self._tables[table].notes.append(note)
        self._progress.say(note)

    def _read(self, where: str, table: AnyTable, number: int) -> tuple[Mapped, LeftOut]:
        self._progress.stage(f"Reading {where}: {table.table or 'query'}, in percent", PERCENT)
        loaded = load_table(self._connection, self._opener, table, columns_of(table), where, number, self._progress)
        mapped = map_table(self._connection, table, loaded, self._settings.times, number)
        left_out = find_bad(self._connection, mapped, number)
        if table.duplicates == "drop":
            leave_out_duplicates(self._connection, mapped, left_out)
        return mapped, left_out

    def _tell(self, mapped: Mapped, left_out: LeftOut) -> None:
        """Count a table's rows, and hold them against the limits."""
        loaded = mapped.loaded
        rejected = self.rejects.add(mapped, left_out)
        n_rejected = sum(rejected.values())
        self._tables.append(
            TableReport(
                where=loaded.where,
                table=loaded.scan.name,
                read=loaded.n_read,
                left_out=loaded.n_left_out,
                written=loaded.n_read - n_rejected,
                rejected=rejected,
                times=mapped.times,
                notes=[*loaded.notes, *mapped.notes],
            )
        )
        for note in self._tables[-1].notes:
            self._progress.say(note)
        limits = self._settings.limits
        double, unknown = (sum(rejected.get(reason, 0) for reason in of) for of in ((SAME, SAME_ID), (UNKNOWN,)))
        other = n_rejected - double - unknown - rejected.get(OLDER, 0)
        for name, n, what in (
            ("bad_rows", other, "bad rows"),
            ("duplicates", double, "duplicates"),
            ("unknown_users", unknown, "labels of unknown customers"),
        ):
            self._hold(loaded.where, n, loaded.n_read, name, what, limits)

    def _hold(self, where: str, n: int, n_read: int, name: str, what: str, limits: Limits) -> None:
        most = getattr(limits, name)
        if n > most * n_read:
            self.exceeded.append(
                f"{where}: {n:,} {what} of {n_read:,} rows, {n / n_read:.1%}; limits.{name} allows {most:.1%}"
            )


def _require_ours(folder: Path) -> None:
    if any(folder.iterdir()) and not (folder / FILE).is_file():
        raise ConfigError(f"{folder}: is there and was not written by ingest (it has no {FILE}); name another folder")
