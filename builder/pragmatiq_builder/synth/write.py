"""The files of the raw contract, written a chunk of customers at a time and named only when complete."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.synth.events import END, Events
from pragmatiq_builder.synth.labels import Labels
from pragmatiq_builder.synth.profiles import Profile
from pragmatiq_builder.synth.render import EVENTS_SCHEMA, event_columns

_MILESTONE = pa.struct([pa.field("key", pa.string()), pa.field("ts", pa.timestamp("us"))])
PROFILES_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("as_of", pa.timestamp("us"), nullable=False),
        pa.field("attributes", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("lifelong", pa.list_(_MILESTONE), nullable=False),
    ]
)


def label_schema(time_column: str) -> pa.Schema:
    """Schema of a label file whose rows are told apart by ``ts`` or ``eval_ts``."""
    return pa.schema(
        [
            pa.field("user_id", pa.string(), nullable=False),
            pa.field(time_column, pa.timestamp("us"), nullable=False),
            pa.field("label", pa.int8(), nullable=False),
        ]
    )


LABEL_TIMES = {"fraud": "ts", "default_12m": "eval_ts", "churn_6m": "eval_ts"}


@dataclass(frozen=True, slots=True)
class CustomerData:
    """All that is written of one customer; ``labels`` by task."""

    user_id: str
    events: Events
    profile: Profile
    labels: dict[str, Labels]


class RawWriter:
    """Writes a raw data folder; nothing carries its final name unless all of it was written.

    Each chunk becomes one row group per file.
    """

    def __init__(self, out: Path) -> None:
        schemas = {"events": EVENTS_SCHEMA, "profiles": PROFILES_SCHEMA}
        schemas |= {f"labels/{task}": label_schema(column) for task, column in LABEL_TIMES.items()}
        self._targets = {name: out / f"{name}.parquet" for name in schemas}
        self.replaced = [str(path.relative_to(out)) for path in self._targets.values() if path.exists()]
        self._schemas = schemas
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for name, target in self._targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(_partial(target), self._schemas[name], compression="zstd")
            self._writers[name] = self._stack.enter_context(writer)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()
        for target in self._targets.values():
            if kind is None:
                _partial(target).replace(target)
            else:
                _partial(target).unlink(missing_ok=True)

    def write(self, chunk: list[CustomerData]) -> None:
        """Append customers, whose events are in order of time."""
        users = pa.array([customer.user_id for customer in chunk])
        lengths = [len(customer.events) for customer in chunk]
        ts, source, fields = event_columns(np.concatenate([customer.events for customer in chunk]))
        self._append("events", [_repeat(users, lengths), ts, source, fields])
        self._append("profiles", _profile_columns(users, [customer.profile for customer in chunk]))
        for task in LABEL_TIMES:
            labels = [customer.labels[task] for customer in chunk]
            at = pa.array(np.concatenate([ts for ts, _ in labels]), pa.timestamp("us"))
            label = pa.array(np.concatenate([label for _, label in labels]), pa.int8())
            self._append(f"labels/{task}", [_repeat(users, [len(ts) for ts, _ in labels]), at, label])

    def _append(self, name: str, columns: list[pa.Array]) -> None:
        table = pa.Table.from_arrays(columns, schema=self._schemas[name])
        self._writers[name].write_table(table, row_group_size=max(len(table), 1))


def _partial(target: Path) -> Path:
    return target.with_suffix(".parquet.partial")


def _repeat(users: pa.StringArray, lengths: list[int]) -> pa.StringArray:
    return users.take(pa.array(np.repeat(np.arange(len(users)), lengths)))


def _profile_columns(users: pa.StringArray, profiles: list[Profile]) -> list[pa.Array]:
    lifelong = [[{"key": key, "ts": ts} for key, ts in profile.lifelong] for profile in profiles]
    return [
        users,
        pa.array(np.full(len(users), END)),
        pa.array([list(profile.attributes.items()) for profile in profiles], PROFILES_SCHEMA.field("attributes").type),
        pa.array(lifelong, PROFILES_SCHEMA.field("lifelong").type),
    ]
