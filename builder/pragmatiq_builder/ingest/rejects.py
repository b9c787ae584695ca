"""The reject file: every row that was not written, with its place, its reason and what stood there."""

from pathlib import Path
from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.left_out import LeftOut
from pragmatiq_builder.ingest.load import FILE, ROW
from pragmatiq_builder.ingest.mapping import Mapped
from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.sql import text
from pragmatiq_triton.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

COLUMNS = ("table", "file", "row", "line", "reason", "column", "value", "record")
BAD_LINE = "no row: "


class Rejects:
    """Gathers rejected rows in DuckDB's table ``rejected``, and writes them as CSV."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        self._connection = connection
        run(
            connection,
            "CREATE TABLE rejected (place INTEGER, number BIGINT, tab VARCHAR, file VARCHAR, _row BIGINT, line BIGINT, "
            "reason VARCHAR, col VARCHAR, value VARCHAR, record VARCHAR)",
            "rejected",
        )
        self._n_tables = 0

    def add(self, mapped: Mapped, left_out: LeftOut) -> dict[str, int]:
        """Add what ``mapped`` loses; returns the number of rows for each reason."""
        place, loaded = self._n_tables, mapped.loaded
        self._n_tables += 1
        where, files = loaded.where, _case(FILE, loaded.scan.paths, [file.name for file in loaded.scan.files])
        number = ROW
        if loaded.first_rows:
            starts = " ".join(f"WHEN {text(path)} THEN {first}" for path, first in loaded.first_rows.items())
            number = f"{ROW} - CASE {FILE} {starts} ELSE 0 END"
        record = (
            "CAST(to_json({"
            + ", ".join(f"{text(name)}: {loaded.sql(name)}" for name in loaded.kinds)
            + "}) AS VARCHAR)"
        )
        reasons, columns, values = (
            " ".join(f"WHEN {at} THEN {part}" for at, part in enumerate(parts))
            for parts in (
                [text(check.reason) for check in mapped.checks],
                [text(check.column) for check in mapped.checks],
                [f"CAST({loaded.sql(check.column)} AS VARCHAR)" for check in mapped.checks],
            )
        )
        lines = _case("file", loaded.scan.paths, [file.name for file in loaded.scan.files])
        parts = [
            f"SELECT {place}, line, {text(where)}, {lines}, NULL, line, {text(BAD_LINE)} || reason, col, NULL, record "
            f"FROM {loaded.bad_lines}",
            f"SELECT {place}, {ROW}, {text(where)}, {files}, {number}, NULL, coalesce(reason, CASE bad {reasons} END), "
            f"CASE bad {columns} END, CASE bad {values} END, {record} "
            f"FROM {loaded.name} JOIN {left_out.name} USING ({ROW})",
        ]
        for part in parts:
            run(self._connection, f"INSERT INTO rejected {part}", where)
        rows = run(
            self._connection,
            f"SELECT reason || coalesce(' (' || col || ')', ''), count(*) FROM rejected WHERE place = {place} "
            "GROUP BY ALL ORDER BY count(*) DESC, 1",
            where,
        ).fetchall()
        return dict(rows)

    def write(self, file: Path) -> None:
        """Write the file, in the order of tables and rows; none where there are no rejected rows."""
        row = run(self._connection, "SELECT count(*) FROM rejected", "rejected").fetchone()
        assert row
        if row[0]:
            named = (
                'tab AS "table", file, _row AS "row", line, reason, col AS "column", value, record FROM rejected '
                "ORDER BY place, number, reason, _row"
            )
            run(self._connection, f"COPY (SELECT {named}) TO {text(str(file))} (FORMAT csv, HEADER)", str(file))


def require_ours(file: Path) -> None:
    """ConfigError where something else than a reject file is at ``file``."""
    if not file.exists() and not file.is_symlink():
        return
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            head = stream.readline(200).strip()
    except OSError:
        head = ""
    if head != ",".join(COLUMNS):
        raise ConfigError(f"{file}: is there and is no reject file; name another with --rejected, or remove it")


def _case(column: str, paths: list[str], names: list[str]) -> str:
    if len(paths) < 2:
        return text(names[0]) if names else "NULL"
    cases = " ".join(f"WHEN {text(path)} THEN {text(name)}" for path, name in zip(paths, names, strict=True))
    return f"CASE {column} {cases} END"
