"""Events that say nothing but their source and time, and fields without a name: counted by source."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pragmatiq_builder.raw.arrays import Mask, count_values, to_mask
from pragmatiq_builder.raw.events import EventChunk
from pragmatiq_builder.raw.profiles import ProfileChunk
from pragmatiq_triton.listing import listed


class EmptyFields:
    """Counts over the chunks of a raw data folder; what is counted is put up with."""

    def __init__(self) -> None:
        self._events: Counter[str] = Counter()
        self._empty_events: Counter[str] = Counter()
        self._nameless_fields: Counter[str] = Counter()
        self._nameless_items: Counter[str] = Counter()

    def add_events(self, chunk: EventChunk, has_value: Mask) -> None:
        """Count a chunk; ``has_value`` bool [n_events]: the event has a field with a value."""
        self._events += count_values(chunk.sources)
        if not has_value.all():
            self._empty_events += count_values(chunk.sources.filter(pa.array(~has_value)))
        nameless = _nameless(chunk.keys)
        if nameless.any():
            owners = np.repeat(np.arange(len(chunk.ts)), chunk.field_counts)[nameless]
            self._nameless_fields += count_values(chunk.sources.take(pa.array(owners)))

    def add_profiles(self, chunk: ProfileChunk) -> None:
        """Count a chunk's attributes and milestones without a name."""
        for part, keys in (("attributes", chunk.attribute_keys), ("milestones", chunk.milestone_keys)):
            if n_nameless := int(np.count_nonzero(_nameless(keys))):
                self._nameless_items[part] += n_nameless

    def findings(self) -> Iterator[tuple[str, str, int]]:
        """File, sentence and number of each kind that occurred."""
        if self._empty_events:
            of_source = [f"{n:,} of {self._events[name]:,} of {name!r}" for name, n in self._empty_events.most_common()]
            yield (
                "events.parquet",
                "events have no field whose value is read, so that only their source and time are read, by source: "
                f"{listed(of_source)}",
                self._empty_events.total(),
            )
        if self._nameless_fields:
            of_source = [f"{n:,} of {name!r}" for name, n in self._nameless_fields.most_common()]
            yield (
                "events.parquet",
                f"fields have '' for a name, and count as one field of that name, by source: {listed(of_source)}",
                self._nameless_fields.total(),
            )
        if self._nameless_items:
            of_part = [f"{n:,} {part}" for part, n in self._nameless_items.items()]
            what = f"{listed(of_part)} have '' for a name, and count as one of that name"
            yield "profiles.parquet", what, self._nameless_items.total()


def _nameless(keys: pa.Array) -> Mask:
    return to_mask(pc.equal(keys, ""))
