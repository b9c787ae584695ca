import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.raw import read_events
from pragmatiq_triton.errors import DataError

SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NOW = 1_738_245_371
FIELDS = pa.map_(pa.string(), pa.string())


def events(tmp_path, ts):
    columns = {
        "user_id": pa.array(["u"] * len(ts)),
        "ts": ts,
        "source": pa.array(["s"] * len(ts)),
        "fields": pa.array([[]] * len(ts), FIELDS),
    }
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("unit", "stored"), [("us", 253_402_300_800_000_000), ("ms", 2**60), ("s", -1), ("ns", -1), ("ms", None)]
)
def test_impossible_times_are_refused_in_any_unit(tmp_path, unit, stored):
    data = events(tmp_path, pa.array([NOW * SECOND[unit], stored], pa.timestamp(unit)))
    with pytest.raises(DataError, match=r"row 1: ts is (null|before 1971-01-01|after 9999-12-31)"):
        list(read_events(data))


@pytest.mark.parametrize(("unit", "second"), SECOND.items())
def test_times_of_any_unit_are_microseconds(tmp_path, unit, second):
    earliest, latest = 31_536_000, 253_402_300_799 if unit != "ns" else NOW
    stored = [earliest * second, (earliest + 7) * second, latest * second]
    (chunk,) = read_events(events(tmp_path, pa.array(stored, pa.timestamp(unit, "UTC"))))
    assert chunk.ts.tolist() == [earliest * 10**6, (earliest + 7) * 10**6, latest * 10**6]
