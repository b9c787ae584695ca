"""``validate`` names the values that mean nothing and the identifiers that were floats."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.raw.validation import validate

FIELDS = pa.map_(pa.string(), pa.string())


@pytest.fixture
def warnings(tmp_path):
    """A function that writes events (user, fields) and profiles (user, attributes) and returns validate's warnings."""

    def check(events, profiles=(), label_users=()):
        n = len(events)
        columns = {
            "user_id": pa.array([user for user, _ in events], pa.string()),
            "ts": pa.array([1_500_000_000_000_000 + i for i in range(n)], pa.timestamp("us")),
            "source": pa.array(["card"] * n),
            "fields": pa.array([list(fields.items()) for _, fields in events], FIELDS),
        }
        pq.write_table(pa.table(columns), tmp_path / "events.parquet")
        if profiles:
            columns = {
                "user_id": pa.array([user for user, _ in profiles], pa.string()),
                "attributes": pa.array([list(attributes.items()) for _, attributes in profiles], FIELDS),
            }
            pq.write_table(pa.table(columns), tmp_path / "profiles.parquet")
        if label_users:
            (tmp_path / "labels").mkdir()
            ts = pa.array([1_500_000_001_000_000] * len(label_users), pa.timestamp("us"))
            table = {
                "user_id": pa.array(label_users, pa.string()),
                "eval_ts": ts,
                "label": pa.array([1] * len(label_users)),
            }
            pq.write_table(pa.table(table), tmp_path / "labels" / "churn.parquet")
        report = validate(tmp_path)
        assert report.ok
        return [(finding.file, finding.count, finding.what) for finding in report.warnings]

    return check


def test_values_that_mean_something_are_not_warned_of(warnings):
    assert warnings([("1", {"amount": "0", "shop": "none", "ref": "12.0"}), ("2", {"amount": "-0.0"})]) == []


def test_empty_values_are_counted_by_field(warnings):
    events = [("1", {"amount": None, "shop": ""}), ("2", {"amount": " ", "shop": "x"})]
    (file, count, what), (_, n_events, bare) = warnings(events)
    assert (file, count) == ("events.parquet", 3)
    assert "null or empty" in what
    assert "'amount' (2), 'shop' (1)" in what
    assert n_events == 1
    assert "no field whose value is read" in bare


@pytest.mark.parametrize("spelling", ["nan", "NaN", "None", "NULL", "null", "<NA>", "NaT"])
def test_spellings_of_a_missing_value_are_named_with_the_setting(warnings, spelling):
    ((file, count, what),) = warnings([("1", {"a": "1"})], [("1", {"age": spelling}), ("2", {"age": "40"})])
    assert (file, count) == ("profiles.parquet", 1)
    assert f"{spelling!r} of 'age' (1)" in what
    assert "missing_values" in what


def test_user_ids_that_were_floats_are_named_in_every_file(warnings):
    found = warnings([("12.0", {"a": "1"}), ("13.0", {"a": "1"})], [("12.0", {"age": "1"}), ("13.0", {})], ["12.0"])
    assert sorted(file for file, _, what in found if "ends in '.0'" in what) == [
        "events.parquet", "labels/churn.parquet", "profiles.parquet",
    ]  # fmt: skip
    assert all("'12.0'" in what and "Int64" in what for _, _, what in found)


def test_many_fields_are_one_line(warnings):
    ((_, count, what),) = warnings([("1", {"a": "1"} | {f"f{i}": None for i in range(30)})])
    assert count == 30
    assert "and 22 more" in what
