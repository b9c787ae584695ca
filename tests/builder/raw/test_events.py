import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.raw import read_events
from pragmatiq_triton.errors import DataError

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
    data = events(tmp_path, pa.array([1, stored], pa.timestamp(unit)))
    with pytest.raises(DataError, match=r"row 1: ts is (null|before 1970|after the year 9999)"):
        list(read_events(data))


@pytest.mark.parametrize(("unit", "second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_times_of_any_unit_are_microseconds(tmp_path, unit, second):
    data = events(tmp_path, pa.array([0, 7 * second, 253_402_300_799 * second if unit != "ns" else 8 * second],
                                     pa.timestamp(unit, "UTC")))  # fmt: skip
    (chunk,) = read_events(data)
    assert chunk.ts.tolist()[:2] == [0, 7_000_000]
