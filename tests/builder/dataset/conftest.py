from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

BIRMINGHAM = Path(__file__).parents[2] / "data" / "birmingham"

EVENTS = pa.schema(
    [("user_id", pa.string()), ("ts", pa.timestamp("us")), ("source", pa.string()),
     ("fields", pa.map_(pa.string(), pa.string()))]
)  # fmt: skip
PROFILES = pa.schema(
    [("user_id", pa.string()), ("as_of", pa.timestamp("us")), ("attributes", pa.map_(pa.string(), pa.string())),
     ("lifelong", pa.list_(pa.struct([("key", pa.string()), ("ts", pa.timestamp("us"))])))]
)  # fmt: skip


def write_raw(folder, events, profiles=(), **options):
    """Write rows as a raw data folder: events (user, ts, source, fields) and profiles (user, as_of, fields, items)."""
    rows = [{"user_id": u, "ts": ts, "source": s, "fields": list(fields.items())} for u, ts, s, fields in events]
    pq.write_table(pa.Table.from_pylist(rows, EVENTS), folder / "events.parquet", **options)
    if profiles:
        rows = [
            {"user_id": u, "as_of": as_of, "attributes": list(attributes.items()),
             "lifelong": [{"key": key, "ts": ts} for key, ts in lifelong]}
            for u, as_of, attributes, lifelong in profiles
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, PROFILES), folder / "profiles.parquet")
    return folder


@pytest.fixture
def raw_folder(tmp_path):
    """A function that writes rows as a raw data folder: events (user, ts, source, fields) and profiles."""

    def write(events, profiles=(), **options):
        folder = tmp_path / "raw"
        folder.mkdir(exist_ok=True)
        return write_raw(folder, events, profiles, **options)

    return write
