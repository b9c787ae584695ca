"""Whether a raw data folder has what is read of it, before the work begins."""

from pathlib import Path

from builder.raw import events, profiles
from builder.raw.columns import usable_columns
from builder.raw.findings import FirstError
from builder.raw.parts import find_table, missing_table
from pragmatiq_triton.errors import DataError


def check_users(data: Path, matched: bool, event_user: str | None, profile_user: str | None) -> None:
    """Raise :class:`DataError` unless a profile is of a user with events (``matched``), where there are both.

    ``event_user`` and ``profile_user`` are examples, None without any.
    """
    if matched or event_user is None or profile_user is None:
        return
    raise DataError(
        f"{data / 'profiles.parquet'}: no user with events has a profile: the events have users such as "
        f"{event_user!r}, the profiles such as {profile_user!r}; write both alike, or leave the profiles out"
    )


def check_columns(data: Path) -> None:
    """Raise :class:`DataError` for a column of events or profiles, in any part, that is missing or cannot be read."""
    for name, columns in (("events", events.COLUMNS), ("profiles", profiles.COLUMNS)):
        table = find_table(data, name)
        if table is None and name == "events":
            raise missing_table(data, name)
        for part in table.parts if table else ():
            with part.open() as file:
                usable_columns(part, file, columns, FirstError())
