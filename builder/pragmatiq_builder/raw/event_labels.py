"""Which event a label of an event means: by its id, by its time, or by its source where a moment has several."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from pragmatiq_builder.raw.ids import UInt64
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.listing import listed

NO_EVENT = -1
_NAMED_ROWS = 5
_MANY_FIRST = 0.5
"""Share of labelled events with nothing before them above which it is told: every user has one first event."""


class Events(Protocol):
    """What matching needs of users' events; each array is in the order of ascending time."""

    @property
    def user_ids(self) -> Sequence[str]:
        """In the order of the users' numbers."""
        ...

    def event_times(self, user: int) -> Int64:
        """Microseconds since the epoch, int64 [n]."""
        ...

    def event_ids(self, user: int) -> UInt64:
        """Hashes of ids, uint64 [n], 0 without one."""
        ...

    def event_sources(self, user: int) -> Int64:
        """Numbers of sources, int64 [n]."""
        ...

    def source_name(self, source: int) -> str:
        """The name behind such a number."""
        ...


def match_events(
    path: Path, rows: Int64, users: Int64, at: Int64, ids: UInt64, data: Events
) -> tuple[Int64, dict[str, int]]:
    """The number of each labelled event among its user's, int64 [n], ``NO_EVENT`` where there is none at ``at``.

    ``rows`` int64 [n] are the labels' rows in the file ``path``, ``ids`` their hashed ids, 0 without one. Without an id
    a moment with several events means the only one of them whose source other rows label; the answer counts such rows
    by that source. Raises :class:`DataError` where nothing tells which event is meant.
    """
    events = np.full(len(users), NO_EVENT, np.int64)
    unclear: dict[int, Int64] = {}
    labelled_sources: set[int] = set()
    for user, places in rows_by_user(users):
        times, known = data.event_times(user), data.event_ids(user)
        first, stop = (np.searchsorted(times, at[places], side=side) for side in ("left", "right"))
        for place, low, high in zip(places.tolist(), first.tolist(), stop.tolist(), strict=True):
            candidates = np.arange(low, high)
            if ids[place] and known[low:high].any():
                candidates = candidates[known[low:high] == ids[place]]
            if len(candidates) == 1:
                events[place] = candidates[0]
            elif len(candidates):
                unclear[place] = candidates
        found = events[places]
        labelled_sources.update(data.event_sources(user)[found[found >= 0]].tolist())
    by_source: Counter[str] = Counter()
    for place, candidates in list(unclear.items()):
        sources = data.event_sources(int(users[place]))[candidates]
        likely = np.flatnonzero(np.isin(sources, list(labelled_sources)))
        if len(likely) == 1:
            events[place] = unclear.pop(place)[likely[0]]
            by_source[data.source_name(int(sources[likely[0]]))] += 1
    if unclear:
        raise DataError(f"{path}: {_told(rows, users, at, unclear, data)}")
    return events, dict(by_source)


def rows_by_user(users: Int64) -> Iterator[tuple[int, Int64]]:
    """Each user's number with the places of its rows in ``users`` int64 [n]."""
    if not len(users):
        return
    order = np.argsort(users, kind="stable")
    distinct, first = np.unique(users[order], return_index=True)
    yield from zip(distinct.tolist(), np.split(order, first[1:]), strict=True)


def _told(rows: Int64, users: Int64, at: Int64, unclear: dict[int, Int64], data: Events) -> str:
    places = sorted(unclear)
    named = listed([str(rows[place]) for place in places], _NAMED_ROWS)
    first, user = places[0], int(users[places[0]])
    sources = Counter(data.source_name(source) for source in data.event_sources(user)[unclear[first]].tolist())
    seen = ", ".join(f"{n} of {name!r}" for name, n in sources.items())
    return (
        f"{len(places)} of {len(rows)} rows, of {len(set(users[places].tolist()))} users, cannot be told apart: their "
        f"user has several events at that ts, and nothing says which one is meant (rows {named}; the first is of "
        f"user {data.user_ids[user]!r} at {at[first].astype('M8[us]')} UTC, with events {seen}); "
        "give the events and the labels a column event_id, and tokenize again"
    )


def simultaneous(users: Int64, at: Int64, events: Int64, labels: Int64, data: Events) -> list[str]:
    """Sentences on rows with other events in the same microsecond, which their history leaves out; [] if no row has."""
    n_rows, by_source = 0, {0: Counter[int](), 1: Counter[int]()}
    for user, places in rows_by_user(users):
        times, sources = data.event_times(user), data.event_sources(user)
        first, stop = (np.searchsorted(times, at[places], side=side) for side in ("left", "right"))
        for place, low, high in zip(places.tolist(), first.tolist(), stop.tolist(), strict=True):
            if high - low > 1:
                n_rows += 1
                others = np.delete(np.arange(low, high), events[place] - low)
                by_source[int(labels[place])].update(sources[others].tolist())
    if not n_rows:
        return []
    counts = by_source[0] + by_source[1]
    told = ", ".join(
        f"{n} of {data.source_name(source)!r} ({by_source[1][source]} of them at rows labelled 1)"
        for source, n in counts.most_common(5)
    )
    return [
        f"{n_rows} of {len(users)} labelled events have others in the same microsecond, which are left out of the "
        f"history, since nobody knows that they came before: {told}. A caller must leave them out too."
    ]


def without_past(users: Int64, at: Int64, data: Events) -> list[str]:
    """A sentence on rows of events before which their user has no other, if more than half of the rows are such."""
    n_first = sum(
        int(np.count_nonzero(at[places] <= data.event_times(user)[0])) for user, places in rows_by_user(users)
    )
    if n_first <= _MANY_FIRST * len(users):
        return []
    return [
        f"{n_first} of {len(users)} labelled events are the first of their user: their history is empty, so the event "
        "and the profile alone are judged. Were older events left out of the data?"
    ]
