"""The events of labelled users, as a label file's check needs them."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from pragmatiq_builder.raw import read_events
from pragmatiq_builder.raw.ids import UInt64
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.time_range import TimeRange


class LabelledUsers:
    """Times, ids and sources of the events of some users of a raw data folder, 24 bytes each in memory."""

    def __init__(self, data: Path, users: Collection[str], times: TimeRange) -> None:
        self.user_ids: list[str] = []
        self._events: list[tuple[Int64, UInt64, Int64]] = []
        self._sources: dict[str, int] = {}
        wanted = set(users)
        for chunk in read_events(data, times=times):
            encoded = chunk.sources.dictionary_encode()
            names = [self._sources.setdefault(name, len(self._sources)) for name in encoded.dictionary.to_pylist()]
            sources = np.asarray(names, np.int64)[encoded.indices.to_numpy()]
            stops = np.cumsum(chunk.event_counts)
            for user_id, start, stop in zip(chunk.user_ids, stops - chunk.event_counts, stops, strict=True):
                if user_id in wanted:
                    self.user_ids.append(user_id)
                    own = slice(int(start), int(stop))
                    self._events.append((chunk.ts[own].copy(), chunk.event_ids[own].copy(), sources[own].copy()))

    def event_times(self, user: int) -> Int64:
        return self._events[user][0]

    def event_ids(self, user: int) -> UInt64:
        return self._events[user][1]

    def event_sources(self, user: int) -> Int64:
        return self._events[user][2]

    def source_name(self, source: int) -> str:
        return list(self._sources)[source]
