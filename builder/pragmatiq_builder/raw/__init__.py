"""Reading the raw contract: events, profiles and labels, in every layout that parquet gives them.

One reader for all commands: it raises the first thing that breaks the contract, and `validate` lets it gather them all.
"""

from pragmatiq_builder.raw.check import check_columns, check_users
from pragmatiq_builder.raw.events import EventChunk, read_events
from pragmatiq_builder.raw.labels import LabelTable, read_label_table
from pragmatiq_builder.raw.parts import count_rows
from pragmatiq_builder.raw.profiles import ProfileChunk, read_profiles

__all__ = [
    "EventChunk",
    "LabelTable",
    "ProfileChunk",
    "check_columns",
    "check_users",
    "count_rows",
    "read_events",
    "read_label_table",
    "read_profiles",
]
