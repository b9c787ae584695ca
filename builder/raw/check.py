"""Whether a raw data folder has what is read of it, before the work begins."""

from pathlib import Path

from builder.raw import events, profiles
from builder.raw.columns import usable_columns
from builder.raw.findings import FirstError
from builder.raw.parts import find_table, missing_table


def check_columns(data: Path) -> None:
    """Raise :class:`DataError` for a column of events or profiles, in any part, that is missing or cannot be read."""
    for name, columns in (("events", events.COLUMNS), ("profiles", profiles.COLUMNS)):
        table = find_table(data, name)
        if table is None and name == "events":
            raise missing_table(data, name)
        for part in table.parts if table else ():
            with part.open() as file:
                usable_columns(part, file, columns, FirstError())
