"""What is to be said of the values of a label whose classes are named in the settings."""

import re
from typing import TYPE_CHECKING

from pragmatiq_builder.ingest.load import Loaded
from pragmatiq_builder.ingest.queries import run
from pragmatiq_builder.ingest.settings import LabelColumn
from pragmatiq_builder.ingest.values import WHOLE, label_value
from pragmatiq_triton.listing import listed, one_line

if TYPE_CHECKING:
    import duckdb

_MOST = 10_000
"""Different values that are looked at; a label has a few."""


def label_notes(connection: "duckdb.DuckDBPyConnection", loaded: Loaded, label: LabelColumn) -> list[str]:
    """Notes of named values that no row has, and of several values that one class is made of without being named."""
    value, where = label_value(loaded.sql(label.column)), f"{loaded.where}: {label.column}"
    rows = run(
        connection,
        f"SELECT {value} AS v, count(*) FROM {loaded.name} WHERE nullif({value}, '') IS NOT NULL "
        f"GROUP BY v ORDER BY count(*) DESC, v LIMIT {_MOST}",
        where,
    ).fetchall()
    named = {re.sub(WHOLE, r"\1", str(each).strip().lower()) for each in (*label.positive, *label.negative)}
    found = dict(rows)
    notes = []
    if missing := sorted(named - found.keys()):
        notes.append(f"{where}: no row has {listed(missing)}; the values are {_shown(found)}")
    rest = {value: n for value, n in found.items() if value not in named}
    if len(rest) > 1 and not (label.positive and label.negative):
        notes.append(f"{where}: read as {int(not label.positive)}, since only the other class is named: {_shown(rest)}")
    return notes


def _shown(values: dict[str, int]) -> str:
    return one_line(listed([f"{value[:40]} ({n:,})" for value, n in values.items()])) or "none"
