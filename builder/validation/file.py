"""One file under validation: its batches, and the findings that its rows give."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from builder.validation.arrays import Mask, integers, null_mask, time_problems
from builder.validation.report import Finding

_BATCH_ROWS = 65_536

TypeTest = Callable[[pa.DataType], bool]


class CheckedFile:
    """Reads a Parquet file's columns and gathers what is wrong with them, one finding per kind of problem."""

    def __init__(self, name: str, parquet: pq.ParquetFile, on_rows: Callable[[int], None]) -> None:
        self.name = name
        self.schema: pa.Schema = parquet.schema_arrow
        self.errors: dict[str, Finding] = {}
        self.warnings: dict[str, Finding] = {}
        self._parquet = parquet
        self._on_rows = on_rows
        self._first_row = 0

    def require(self, **columns: tuple[TypeTest, str]) -> list[str]:
        """The columns of these that are here with a type that passes its test; the others become errors."""
        usable = []
        for name, (fits, expected) in columns.items():
            if name not in self.schema.names:
                self._note(self.errors, f"no column {name} ({expected})")
            elif not fits(kind := self.schema.field(name).type):
                self._note(self.errors, f"column {name} is {kind}, expected {expected}")
            else:
                usable.append(name)
        return usable

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Row batches that hold these columns; damage found on the way is an error and ends them."""
        row = 0
        try:
            for batch in self._parquet.iter_batches(_BATCH_ROWS, columns=columns):
                if batch.num_rows:
                    self._first_row = row
                    yield batch
                row += batch.num_rows
                self._on_rows(batch.num_rows)
        except (pa.ArrowException, OSError) as error:
            self._note(self.errors, f"cannot be read after row {row}: {error}")

    def read(self, columns: list[str]) -> pa.RecordBatch | None:
        """All rows as one batch, None if there are none."""
        batches = list(self.batches(columns))
        self._first_row = 0
        if not batches:
            return None
        return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]

    def pass_over(self, why: str) -> None:
        """Warn that nothing of the file was checked."""
        self._note(self.warnings, f"{why}; the file was passed over")
        self._on_rows(self._parquet.metadata.num_rows)

    def error(self, what: str, batch: pa.RecordBatch, rows: Mask) -> None:
        self._add(self.errors, what, batch, rows)

    def warn(self, what: str, batch: pa.RecordBatch, rows: Mask) -> None:
        self._add(self.warnings, what, batch, rows)

    def check_nulls(self, batch: pa.RecordBatch, column: str) -> None:
        self.error(f"{column} is null", batch, null_mask(batch.column(column)))

    def check_times(self, batch: pa.RecordBatch, column: str) -> Mask:
        """Rows whose time is fine; the others become errors."""
        valid = np.ones(batch.num_rows, np.bool_)
        for problem, rows in time_problems(batch.column(column)).items():
            self.error(f"{column} {problem}", batch, rows)
            valid &= ~rows
        return valid

    def _add(self, findings: dict[str, Finding], what: str, batch: pa.RecordBatch, rows: Mask) -> None:
        count = int(np.count_nonzero(rows))
        if not count:
            return
        if what in findings:
            findings[what].count += count
            return
        row = int(np.argmax(rows))
        example = {"row": self._first_row + row, **_plain_values(batch, row)}
        findings[what] = Finding(self.name, what, count, example)

    def _note(self, findings: dict[str, Finding], what: str) -> None:
        findings[what] = Finding(self.name, what, 1)


def _plain_values(batch: pa.RecordBatch, row: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        cell = column.slice(row, 1)
        if pt.is_timestamp(column.type):
            values[name] = int(integers(cell)[0]) if cell.null_count == 0 else None
        elif not pt.is_nested(column.type):
            values[name] = cell[0].as_py()
    return values
