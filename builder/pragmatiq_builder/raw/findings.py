"""What reading finds wrong: the first error ends it, unless somebody gathers them all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from pragmatiq_builder.raw.arrays import Mask, integers
from pragmatiq_triton.errors import DataError


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a parquet file as they were read: ``first`` is the number of the first one, from 0."""

    path: Path
    first: int
    batch: pa.RecordBatch

    def example(self, rows: Mask) -> dict[str, Any]:
        """The first of ``rows``, as :meth:`at` gives it."""
        return self.at(int(np.argmax(rows)))

    def at(self, row: int) -> dict[str, Any]:
        """The number and the plain columns of the batch's ``row``, times as the integers stored."""
        values: dict[str, Any] = {"row": self.first + row}
        for name, column in zip(self.batch.schema.names, self.batch.columns, strict=True):
            cell = column.slice(row, 1)
            if pt.is_timestamp(column.type):
                values[name] = int(integers(cell)[0]) if cell.null_count == 0 else None
            elif not pt.is_nested(column.type):
                values[name] = _plain(cell[0])
        return values


class Findings(Protocol):
    """Hears of all that is wrong with a table; what is an error decides for every command alike."""

    def broken(self, path: Path, what: str) -> None:
        """A file, or a column of it, cannot be read."""
        ...

    def error(self, rows: Rows, what: str, wrong: Mask) -> None:
        """Rows break the contract where ``wrong`` is True, which may be nowhere."""
        ...

    def warn(self, rows: Rows, what: str, odd: Mask) -> None:
        """Rows are put up with, but look like a mistake."""
        ...

    def remark(self, path: Path, what: str) -> None:
        """Something about a file is put up with, but looks like a mistake."""
        ...

    def advance(self, n_rows: int) -> None:
        """So many more rows were read."""
        ...


class FirstError:
    """Raises the first error as :class:`DataError` and lets warnings pass."""

    def broken(self, path: Path, what: str) -> None:
        raise DataError(f"{path}: {what}")

    def error(self, rows: Rows, what: str, wrong: Mask) -> None:
        if not wrong.any():
            return
        raise DataError(f"{rows.path}: {told(what, rows.example(wrong))}; `pragmatiq validate` counts such rows")

    def warn(self, rows: Rows, what: str, odd: Mask) -> None:
        pass

    def remark(self, path: Path, what: str) -> None:
        pass

    def advance(self, n_rows: int) -> None:
        pass


class SetAside(FirstError):
    """Keeps each row that breaks the contract instead of raising; a table that cannot be read is an error still."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Path, int], tuple[str, str]] = {}
        """By file and number of the row: the customer, if it has one, and the first thing that is wrong."""

    def error(self, rows: Rows, what: str, wrong: Mask) -> None:
        for at in np.flatnonzero(wrong).tolist():
            row = rows.at(at)
            user_id = row.get("user_id")
            problem = told(what, {name: value for name, value in row.items() if name != "row"})
            self.rows.setdefault((rows.path, rows.first + at), ("" if user_id is None else str(user_id), problem))


class Counted(FirstError):
    """Raises the first error as :class:`DataError` and counts what is put up with, in the tables of ``data``."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._rows: dict[str, int] = {}

    def warn(self, rows: Rows, what: str, odd: Mask) -> None:
        if n_rows := int(np.count_nonzero(odd)):
            line = self._line(rows.path, what)
            self._rows[line] = self._rows.get(line, 0) + n_rows

    def remark(self, path: Path, what: str) -> None:
        self._rows.setdefault(self._line(path, what), 0)

    @property
    def lines(self) -> list[str]:
        """What was put up with, and in how many rows."""
        return [f"{line} (rows: {n_rows:,})" if n_rows else line for line, n_rows in self._rows.items()]

    def _line(self, path: Path, what: str) -> str:
        return f"{path.relative_to(self._data).parts[0]}: {what}"


def told(what: str, example: dict[str, Any] | None) -> str:
    """A problem and the example of it in one line."""
    values = dict(example or {})
    row = f"row {values.pop('row')}: " if "row" in values else ""
    has = ", ".join(f"{name} {value!r:.80}" for name, value in values.items())
    return f"{row}{what}; {'the row' if row else 'one'} has {has}" if has else f"{row}{what}"


def _plain(value: pa.Scalar) -> Any:
    try:
        plain = value.as_py()
    except UnicodeDecodeError:
        return value.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    except (ValueError, OverflowError):
        return str(value.cast(pa.int64()))
    return plain if isinstance(plain, str | int | float | bool | None) else str(plain)
