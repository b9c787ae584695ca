"""What `validate` prints for people: a line for each thing that is wrong, which says what to change."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TIMES = pa.array([1_700_000_000_000_000, 1_700_000_000_000_001, 1_700_000_000_000_002], pa.timestamp("us"))
EVENTS = {"user_id": ["a", "b", "a"], "ts": TIMES, "source": ["card"] * 3, "fields": [{"amount": 1.5}] * 3}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "labels").mkdir()
    return tmp_path


def write(path, columns):
    pq.write_table(pa.table(columns), path)


def test_each_error_and_warning_is_a_line_with_row_count_and_remedy(pragmatiq, folder):
    write(folder / "events.parquet", {**EVENTS, "__index_level_0__": [2, 0, 1]})
    write(folder / "labels" / "fraud.parquet", {"user_id": ["a"], "ts": TIMES[:1], "label": ["Y"]})
    lines = pragmatiq("validate", folder, expect=3).out.splitlines()
    (comes_back,) = [line for line in lines if line.startswith("error: events.parquet: row 2: user comes back")]
    assert "sort the rows by user_id, ts; the row has user_id 'a', ts 1700000000000002" in comes_back
    (label,) = [line for line in lines if line.startswith("error: labels/fraud.parquet: column label is string")]
    assert label.endswith("expected a number, 0 or 1; in pandas: (COLUMN == 'YES').astype(int)")
    (index,) = [line for line in lines if line.startswith("warning: ")]
    assert index.endswith("not read: __index_level_0__; in pandas, to_parquet(..., index=False) leaves its index out")
    assert lines[-1] == "broken; errors: 2, warnings: 1"


def test_a_flat_table_is_told_how_its_columns_become_fields(pragmatiq, folder):
    write(folder / "events.parquet", {"user_id": ["a"], "ts": TIMES[:1], "amount": [1.5]})
    lines = pragmatiq("validate", folder, expect=3).out.splitlines()
    (fields,) = [line for line in lines if line.startswith("error: events.parquet: no column fields")]
    assert fields.endswith(
        "got amount beside those of the contract; in pandas: df['fields'] = df[NAMES].to_dict('records')"
    )


def test_where_the_table_lacks_the_files_that_are_there_are_named(pragmatiq, folder):
    write(folder / "transactions.parquet", EVENTS)
    error = pragmatiq("tokenize", folder, "--out", folder / "tok", expect=3).err
    assert error.rstrip().endswith(
        "or a folder events/ of parquet files; in the folder are labels, transactions.parquet"
    )
