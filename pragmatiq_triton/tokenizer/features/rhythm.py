"""How fast events come, and whether this one comes when this customer's usually do."""

import numpy as np

from pragmatiq_triton.tokenizer.features.view import DAY, HOUR, Float64, HistoryView
from pragmatiq_triton.tokenizer.times import calendar

_HOURS = 2
"""Hours before and after that count as the same time of day."""


class Rhythm:
    """``events_1h`` and ``events_1d``: counts; ``weekday`` (Monday 0) and ``day`` of the month of the moment of
    judgement; ``hour_habit`` and ``weekday_habit``: the share of the events before that lie within two hours of its
    time of day, and on its weekday; ``together``: events of the newest one's microsecond.
    """

    names = ("events_1h", "events_1d", "weekday", "day", "hour_habit", "weekday_habit", "together")

    def __init__(self, timezone: str) -> None:
        self._timezone = timezone

    def __call__(self, view: HistoryView) -> Float64:
        if view.at <= 0:
            return np.full(len(self.names), np.nan)
        counts = view.n - np.searchsorted(view.ts, [view.at - HOUR, view.at - DAY], side="right")
        hours, weekdays, days = calendar(np.append(view.ts, view.at), self._timezone)
        # The newest event is no part of the habit that it is held against.
        apart = np.abs(hours[: view.n - 1] - hours[-1]) if view.n > 1 else np.zeros(0, np.int64)
        near = np.minimum(apart, 24 - apart) <= _HOURS
        same = weekdays[: max(view.n - 1, 0)] == weekdays[-1]
        habits = [float(each.mean()) if len(each) else np.nan for each in (near, same)]
        together = view.n - int(np.searchsorted(view.ts, view.ts[-1], side="left")) if view.n else 0
        return np.asarray([*counts, weekdays[-1], days[-1], *habits, together], np.float64)
