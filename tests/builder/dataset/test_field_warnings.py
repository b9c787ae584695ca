"""Each near miss is one line that names the field, what is odd about it, and what mends it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.dataset.field_table import FieldTable
from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.raw.records import read_records
from pragmatiq_triton.records import decode_record
from pragmatiq_triton.tokenizer import Tokenizer, TokenizerConfig
from tests.conftest import UPSTREAM

NOW = 1_700_000_000_000_000

SMALL = {"n_buckets": 4, "categorical_threshold": 10, "target_vocab": 9000}


@pytest.fixture
def warnings(raw_folder, tmp_path):
    """A function that tokenizes columns of fields and returns the warnings."""

    def read(settings=None, fitted=True, **columns):
        rows = zip(*columns.values(), strict=True)
        data = raw_folder([("u", NOW + i, "card", dict(zip(columns, row, strict=True))) for i, row in enumerate(rows)])
        config = TokenizerConfig.from_settings({**SMALL, **(settings or {})})
        tokenizer = None if fitted else tmp_path / "tok" / "tokenizer"
        out = tmp_path / ("tok" if fitted else "new")
        tokenize(data, out, config, tokenizer_dir=tokenizer)
        return FieldTable.load(out).warnings

    return read


AMOUNTS = [f"{(i * 37) % 1000 / 4:.2f}" for i in range(200)]
SHOPS = [f"shop {i % 20}" for i in range(200)]


def one(lines, *words):
    """The one line that has all of the words."""
    found = [line for line in lines if all(word in line for word in words)]
    assert len(found) == 1, lines
    return found[0]


def test_clean_fields_are_not_warned_of(warnings):
    codes = [f"{i % 9:04d}" for i in range(200)]
    assert (
        warnings(amount=AMOUNTS, shop=SHOPS, code=codes, gap=["1.5", None] * 100, step=[str(i % 7) for i in range(200)])
        == []
    )


def test_what_reading_puts_up_with_is_said_and_counted(raw_folder, tmp_path):
    data = raw_folder([("u", NOW + 9, None, {"a": "1"}), ("u", NOW, None, {"a": "2"}), ("v", NOW, "app", {})])
    events = pq.read_table(data / "events.parquet").append_column("amount", pa.array([1.0, 2.0, 3.0]))
    pq.write_table(events, data / "events.parquet")
    profiles = {"user_id": ["u"], "as_of": pa.array([NOW + 8], pa.timestamp("us"))}
    pq.write_table(pa.table(profiles), data / "profiles.parquet")
    tokenize(data, tmp_path / "tok", TokenizerConfig())
    lines = FieldTable.load(tmp_path / "tok").warnings
    assert "not read: amount" in one(lines, "events.parquet: not columns of the contract")
    assert one(lines, "source is null").endswith("(rows: 2)")
    assert one(lines, "ts is earlier than in the row before").endswith("(rows: 1)")
    assert one(lines, "have no profile").startswith("profiles.parquet: 1 of 2 users with events")
    assert "newest event of 1 users" in one(lines, "as_of is before")


def test_nearly_numeric_names_the_odd_values_and_the_setting(warnings):
    line = one(warnings(amount=[*AMOUNTS[:190], *["n/a"] * 7, *["?"] * 3]), "'amount'")
    for words in ("95.0%", "text", "'n/a', '?'", "missing_values", "force_numeric"):
        assert words in line


def test_forced_numbers_say_what_becomes_unknown(warnings):
    line = one(warnings({"force_numeric": ["amount"]}, amount=[*AMOUNTS[:190], *["n/a"] * 10]), "'amount'")
    assert "10 of 200 values are no numbers" in line
    assert "[UNK]" in line


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("account", [str(i * 7) for i in range(200)], "its name says"),
        ("terminalId", [str(i % 150) for i in range(200)], "its name says"),
        ("customer-no", [str(i % 150) for i in range(200)], "its name says"),
        ("x", [str(1000 + i * 13) for i in range(200)], "all values have 4 digits"),
        ("x", [str(i * i * 17) for i in range(200)], "nearly every value is another whole number"),
    ],
)
def test_identifiers_that_became_numeric_are_named(warnings, name, values, reason):
    line = one(warnings(**{name: values}), repr(name))
    assert reason in line
    for setting in ("force_categorical", "force_text", "drop_fields"):
        assert setting in line


@pytest.mark.parametrize("setting", ["force_categorical", "force_text", "force_numeric", "drop_fields"])
def test_a_named_field_is_not_warned_of(warnings, setting):
    assert warnings({setting: ["account"]}, amount=AMOUNTS, account=[str(i * 7) for i in range(200)]) == []


def test_identifiers_written_as_floats_are_named(warnings):
    line = one(warnings(account=[f"{10_000 + i % 5}.0" for i in range(200)]), "'account'")
    assert "'10000.0'" in line
    assert "Int64" in line


def test_identifiers_that_lost_digits_to_an_exponent_are_named(warnings):
    line = one(warnings(contract=["1.23457E+11", *["A"] * 199]), "'contract'")
    assert "'1.23457E+11'" in line


def test_numbers_with_separators_are_named(warnings):
    line = one(warnings(amount=[f"{i % 8 + 1},{i:03d}.50" for i in range(200)]), "'amount'")
    assert "separators" in line
    assert "'1,000.50'" in line


def test_two_spellings_of_one_decimal_category_are_named(warnings):
    line = one(warnings(version=["10.3", "10.30", "10.4", "beta"] * 50), "'version'")
    assert "'10.3' and '10.30'" in line


def test_a_field_without_values_is_named(warnings):
    assert "all of its 200 values are missing" in one(warnings(amount=AMOUNTS, gone=["nan"] * 200), "'gone'")


def test_numbers_that_the_cut_takes_are_named(warnings):
    columns = {f"f{i}": ["x"] * 200 for i in range(4)}
    line = one(
        warnings({"max_event_tokens": 3}, **columns, size=[str(i % 3) for i in range(200)]), "max_event_tokens = 3"
    )
    assert "cuts 200 events" in line
    assert "features lose the numbers of 'size'" in line
    assert "drop_fields" in line


def test_a_vocabulary_over_its_target_names_the_fields_with_the_most_ids(warnings):
    columns = {"m": [f"t{i}" for i in range(400)], "n": ["a"] * 400, "shop": [f"s{i % 200}" for i in range(400)]}
    lines = warnings({"target_vocab": 300, "categorical_threshold": 1000}, **columns)
    line = one(lines, "target_vocab = 300")
    assert "'m' 400, 'shop' 200" in line


def test_counters_that_were_full_are_named(warnings):
    line = one(warnings({"max_counter_distinct": 50}, amount=AMOUNTS, shop=SHOPS), "max_counter_distinct = 50")
    assert "'amount'" in line
    assert "'shop'" not in line


def test_new_data_say_what_the_tokenizer_does_not_know(warnings):
    warnings(amount=AMOUNTS, colour=["red", "blue"] * 100, shape=["a"] * 200)
    lines = warnings(fitted=False, amount=AMOUNTS, colour=["red", "green"] * 100, Shape=["a"] * 200)
    assert "'Shape'" in one(lines, "fitted without these fields")
    assert "50.0% of its 200 values are unknown to the tokenizer, such as 'green' (0.0% in" in one(lines, "'colour'")
    assert "'shape'" in one(lines, "these data lack")


def test_known_data_are_not_warned_of(warnings):
    warnings(amount=AMOUNTS, colour=["red", "blue"] * 100)
    assert warnings(fitted=False, amount=AMOUNTS, colour=["red", "blue"] * 99 + ["green"] * 2) == []


def test_numbers_outside_the_buckets_are_held_against_what_they_were(warnings):
    warnings({"n_buckets": 20}, amount=AMOUNTS)
    line = one(warnings(fitted=False, amount=[*AMOUNTS[:40], *["99999"] * 160]), "'amount'")
    assert "of its 200 numbers lie outside the tokenizer's buckets, below" in line
    assert "(9.5% in the data that it was fitted on)" in line, "19 of the 199 that are not 0, in 2 of 20 buckets"


def test_without_the_fitted_datas_table_nothing_is_compared_and_that_is_said(warnings, tmp_path):
    warnings(colour=["red", "blue"] * 100)
    (tmp_path / "tok" / "fields.json").unlink()
    lines = warnings(fitted=False, colour=["red", "green"] * 100)
    assert "50.0% of 'colour'" in one(lines, "more than 10%")
    assert "no fields.json" in one(lines, "nothing is compared")


def test_there_are_at_most_so_many(warnings):
    lines = warnings(**{f"account_{i}_id": [str(j * 7 + i) for j in range(200)] for i in range(60)}, size=["x"] * 200)
    assert len(lines) == 51
    assert lines[-1].startswith("and ")


def test_a_tokenizer_from_before_keeps_its_rules_and_says_so(raw_folder, tmp_path):
    fields = [{"amount": value, "currency": "GBP"} for value in ("12.5", "12.50", "", "nan")]
    data = raw_folder([("u", 1_600_000_000_000_000 + i, "transaction", each) for i, each in enumerate(fields)])
    tokenize(data, tmp_path / "tok", tokenizer_dir=UPSTREAM / "bpe" / "run" / "tokenizer")
    dataset, record = TokenizedDataset(tmp_path / "tok"), next(iter(read_records(data)))
    sent = Tokenizer(dataset.vocabulary).encode(decode_record(json.dumps(record).encode()))
    assert dataset.encoded(0).event_lengths.tolist() == sent.event_lengths.tolist() == [3, 3, 3, 3]
    np.testing.assert_array_equal(dataset.encoded(0).tokens[:, :3], sent.tokens[:, :3])
    table = FieldTable.load(tmp_path / "tok")
    assert "2 values are missing" in one(table.warnings, "reads them as they are written")
    (amount,) = (row for row in table.fields if row.name == "amount")
    assert (amount.values, amount.missing, amount.unknown, amount.tokens) == (2, 2, 2, 4)
