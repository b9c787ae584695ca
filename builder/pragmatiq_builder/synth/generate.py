"""Synthetic raw data, the same bytes for the same number of users and seed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.synth.customers import activity_levels, draw_customer, pressure_levels
from pragmatiq_builder.synth.events import Source, join, timestamps
from pragmatiq_builder.synth.fraud import fraud_events
from pragmatiq_builder.synth.hardship import hardship_events
from pragmatiq_builder.synth.income import calendar_events
from pragmatiq_builder.synth.labels import churn_labels, default_labels, fraud_labels
from pragmatiq_builder.synth.phone import assign_devices, phone_events
from pragmatiq_builder.synth.profiles import draw_profile
from pragmatiq_builder.synth.spending import draw_habits, everyday_events
from pragmatiq_builder.synth.write import LABEL_TIMES, CustomerData, RawWriter
from pragmatiq_triton.errors import ConfigError

_CHUNK = 112
"""Customers per row group: about 128 thousand events."""


@dataclass(frozen=True, slots=True)
class LabelCount:
    rows: int = 0
    positives: int = 0


@dataclass(frozen=True, slots=True)
class SynthSummary:
    """What was written: ``sources`` are events per source, ``labels`` row counts per task."""

    users: int
    events: int
    sources: dict[str, int]
    labels: dict[str, LabelCount]


_OTHERS = {
    "checkpoints": "a run",
    "run.yaml": "a run",
    "meta.json": "a tokenized data set",
    "manifest.json": "a model repository",
}


def generate(out: Path, users: int = 2000, seed: int = 0, progress: Progress = Silent()) -> SynthSummary:
    """Write ``events.parquet``, ``profiles.parquet`` and ``labels/*.parquet`` for ``users`` customers into ``out``.

    Customer ``i`` depends on ``seed`` and ``i`` alone. Memory holds one chunk of customers at a time. ``progress``
    advances by customers. Raises :class:`ConfigError` for counts below 1, negative seeds, and an ``out`` that is a run,
    a tokenized data set or a model repository.
    """
    if users < 1:
        raise ConfigError(f"users: expected at least 1, got {users}")
    if seed < 0:
        raise ConfigError(f"seed: expected 0 or more, got {seed}")
    for mark, what in _OTHERS.items():
        if (out / mark).exists():
            raise ConfigError(f"{out}: is {what} ({mark} is there), into which no raw data go; choose another folder")
    sources = np.zeros(len(Source), np.int64)
    labels = {task: LabelCount() for task in LABEL_TIMES}
    progress.stage("Generating customers", users)
    with RawWriter(out) as writer:
        replaced = writer.replaced
        for first in range(0, users, _CHUNK):
            chunk = [_customer_data(seed, i) for i in range(first, min(first + _CHUNK, users))]
            writer.write(chunk)
            for customer in chunk:
                sources += np.bincount(customer.events["source"], minlength=len(Source))
                for task, (_, label) in customer.labels.items():
                    count = labels[task]
                    labels[task] = LabelCount(count.rows + len(label), count.positives + int(label.sum()))
            progress.advance(len(chunk))
    if replaced:
        progress.say(f"replaced in {out}: {', '.join(replaced)}")
    return SynthSummary(
        users=users,
        events=int(sources.sum()),
        sources={source.name.lower(): int(sources[source]) for source in Source},
        labels=labels,
    )


def _customer_data(seed: int, index: int) -> CustomerData:
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    customer = draw_customer(rng, index)
    profile = draw_profile(rng, customer)
    level, pressure = activity_levels(customer), pressure_levels(customer)
    events = join(
        [
            *calendar_events(rng, customer, pressure),
            *everyday_events(rng, customer, draw_habits(rng, customer), level, pressure),
            *phone_events(rng, customer, level, pressure),
            *hardship_events(rng, customer, level, pressure),
            *fraud_events(rng, customer),
        ]
    )
    opened, closed = timestamps(np.array([max(customer.opened, 0.0), customer.closed]))
    events = events[(events["ts"] >= opened) & (events["ts"] < closed)]
    assign_devices(events, customer)
    labels = {
        "fraud": fraud_labels(rng, events),
        "default_12m": default_labels(customer, events),
        "churn_6m": churn_labels(customer, events),
    }
    return CustomerData(customer.user_id, events, profile, labels)
