"""The columns that a table of the raw contract has, found in a parquet file whatever their types are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.raw.findings import Findings, Rows
from pragmatiq_builder.raw.parts import Part
from pragmatiq_builder.raw.text import UnreadableError, texts

PANDAS_INDEX = "__index_level_0__"


@dataclass(frozen=True, slots=True)
class Column:
    """``read`` turns what was stored into what is meant and raises :class:`UnreadableError` for a type that is not.

    ``in_partition``: the name of a folder (``source=app``) may hold it. ``advice`` is how to make it where it lacks.
    """

    read: Callable[[pa.Array], Any]
    expected: str
    required: bool = True
    in_partition: bool = False
    advice: str = ""


def usable_columns(
    part: Part, file: pq.ParquetFile, columns: Mapping[str, Column], findings: Findings
) -> dict[str, Column]:
    """The columns that this part has, of a type that can be read; for the others there are findings."""
    names = list(file.schema_arrow.names)
    usable = {}
    for name, column in columns.items():
        if name in part.partition and name not in names:
            if column.in_partition:
                usable[name] = column
            else:
                findings.broken(part.path, f"{name} is told by a folder's name, expected a column ({column.expected})")
        elif name not in names:
            if column.required:
                advice = f"; {column.advice}" if column.advice else ""
                findings.broken(part.path, f"no column {name} ({column.expected}){_others(names, columns)}{advice}")
        elif names.count(name) > 1:
            findings.broken(part.path, f"column {name} is there {names.count(name)} times, expected it once")
        elif _is_readable(part, name, file.schema_arrow.field(name).type, column, findings):
            usable[name] = column
    if ignored := [name for name in dict.fromkeys([*names, *part.partition]) if name not in columns]:
        index = "; in pandas, to_parquet(..., index=False) leaves its index out" if PANDAS_INDEX in ignored else ""
        findings.remark(part.path, f"not columns of the contract, and not read: {_listed(ignored)}{index}")
    return usable


def stored(part: Part, file: pq.ParquetFile, columns: Mapping[str, Column]) -> list[str]:
    """Those of the columns that are in the file itself."""
    return [name for name in columns if name in file.schema_arrow.names]


def column_of(part: Part, rows: Rows, name: str) -> pa.Array:
    """A column as it was stored, or what the folder's name says of it."""
    if name in rows.batch.schema.names:
        return rows.batch.column(name)
    return pa.array([part.partition[name]] * rows.batch.num_rows, pa.string())


def read_text(rows: Rows, name: str, column: pa.Array, findings: Findings) -> pa.Array:
    """A column of texts; what is no UTF-8 is an error, and null."""
    text, bad = texts(column, scalars=False)
    findings.error(rows, f"{name} is not UTF-8", bad)
    return pa.compute.if_else(pa.array(~bad), text, pa.scalar(None, pa.string())) if np.any(bad) else text


def _is_readable(part: Part, name: str, kind: pa.DataType, column: Column, findings: Findings) -> bool:
    try:
        column.read(pa.nulls(0, kind))
    except UnreadableError as error:
        findings.broken(part.path, f"column {name} is {_short(str(kind))}, {error}")
        return False
    return True


def _others(names: list[str], columns: Mapping[str, Column]) -> str:
    others = [name for name in names if name not in columns and name != PANDAS_INDEX]
    return f", got {_listed(others)} beside those of the contract" if others else ""


def _listed(names: list[str]) -> str:
    return _short(", ".join(names))


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]} ..."
