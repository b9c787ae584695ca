import json
import math
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.records import Scalar, text_of
from pragmatiq_triton.tokenizer.values import ValueRules, canonical, is_plain_number, numbers_of

RULES = ValueRules()


@pytest.mark.parametrize(
    ("spellings", "value"),
    [
        (["10000", "10000.0", "10000.00", "1e4", "1E+04", "10000.", " 10000 ", "100e2"], "10000"),
        (["0", "-0.0", "0.00", "-0", ".0", "0e9", "0e9999"], "0"),
        (["-12.5", "-12.50", "-1.25e1", "-125e-1"], "-12.5"),
        (["0.00001", "1e-05", "1E-5", "0.000010"], "0.00001"),
        ([".5", "0.5", "0.50", "5e-1"], "0.5"),
        (["12345678901234567890", "12345678901234567890.0"], "12345678901234567890"),
        (["1e22", "1e+22", "10000000000000000000000"], "10000000000000000000000"),
        (["1e70", "1" + "0" * 70, "10e69"], "1e70"),
        (["1.5e300", "1.5e+300", "15" + "0" * 299], "1.5e300"),
        (["1e-300", "0." + "0" * 299 + "1"], "1e-300"),
        (["true", "True", "TRUE"], "true"),
        (["false", "False", "FALSE"], "false"),
    ],
)
def test_a_value_has_one_spelling(spellings, value):
    assert [canonical(spelling) for spelling in spellings] == [value] * len(spellings)


@pytest.mark.parametrize(
    "name",
    ["007", "00", "01234", "00.5", "-01", "+447911123456", "+5", "1_000", "１２", "1,000", "12,50", "1e400", "1e99999",
     "1.8e308", "inf", "Infinity", "0x10", "1.2.3", "v10.30", "tRUE", "yes", "TESCO 338 ", "1e", "e5", "-", ".",
     "2024-01-31"],
)  # fmt: skip
def test_names_stay_as_they_are(name):
    assert canonical(name) == name
    assert not is_plain_number(name)


finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**25), 10**25)


@given(finite)
def test_a_json_number_is_read_as_the_same_number_written_by_other_tools(number):
    served = canonical(text_of(msgspec.json.decode(json.dumps(number).encode(), type=Scalar)))
    plain = format(Decimal(repr(number)), "f")
    assert {canonical(repr(number)), canonical(plain), canonical(f"{Decimal(repr(number)):E}")} == {served}
    assert canonical(served) == served
    assert Decimal(served) == Decimal(repr(number))
    assert numbers_of([served]) == [float(number)]


@given(st.text(max_size=12) | st.from_regex(r"\A[+-]?[0-9.eE_]{1,9}\Z"))
def test_reading_twice_reads_the_same(text):
    read = RULES.read(text)
    assert read is None or RULES.read(read) == read


@pytest.mark.parametrize("value", ["", " ", "\t\n", "nan", "NaN", "None", "NULL", "null", "<NA>", "NaT", " nan "])
def test_missing_values_are_read_as_none(value):
    assert RULES.read(value) is None


@pytest.mark.parametrize("value", ["none", "NA", "n/a", "nano", "Null", "-", "0"])
def test_what_is_not_listed_is_not_missing(value):
    assert RULES.read(value) == value


def test_dropped_fields_have_no_value():
    rules = ValueRules(dropped=frozenset({"account"}))
    assert rules.read_field("account", "12") is None
    assert rules.read_field("amount", "12.0") == "12"


def test_numbers_of_names_with_leading_zeros_are_read_where_a_field_is_numeric():
    got = numbers_of(["007", "+5", "12.50", "1_000", "inf", "nan", "x", ""])
    np.testing.assert_array_equal(got, [7, 5, 12.5, *[math.nan] * 5])
