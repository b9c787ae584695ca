"""Whether a raw data folder has what is read of it, before the work begins."""

from collections.abc import Set
from pathlib import Path

from pragmatiq_builder.raw import events, profiles
from pragmatiq_builder.raw.columns import usable_columns
from pragmatiq_builder.raw.findings import FirstError
from pragmatiq_builder.raw.likeness import likeness
from pragmatiq_builder.raw.parts import find_table, missing_table
from pragmatiq_triton.errors import DataError


def check_users(data: Path, with_events: Set[str], with_profile: Set[str]) -> None:
    """Raise :class:`DataError` unless a profile is of a user with events, where there are both."""
    if not with_events or not with_profile or not with_events.isdisjoint(with_profile):
        return
    alike = likeness(with_profile, with_events) or "; write both alike"
    raise DataError(
        f"{data / 'profiles.parquet'}: no user with events has a profile: the events have users such as "
        f"{min(with_events)!r}, the profiles such as {min(with_profile)!r}{alike}, or leave the profiles out"
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
