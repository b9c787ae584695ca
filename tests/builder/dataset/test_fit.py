import numpy as np
import pytest

from pragmatiq_builder.dataset.fit import fit
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.tokenizer import TokenizerConfig, Vocabulary
from pragmatiq_triton.tokenizer.vocabulary import UNK, parse_numbers

NOW = 1_700_000_000_000_000
SETTINGS = {"n_buckets": 4, "categorical_threshold": 10, "target_vocab": 700}


def events(**columns):
    rows = zip(*columns.values(), strict=True)
    return [("u", NOW + i, "s", dict(zip(columns, row, strict=True))) for i, row in enumerate(rows)]


def fitted(raw_folder, settings=None, **columns):
    return fit(raw_folder(events(**columns)), TokenizerConfig.from_settings({**SETTINGS, **(settings or {})}))


NUMBERS = [str(i) for i in range(1, 41)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (NUMBERS, "numeric"),
        (NUMBERS[:31], "text"),  # fewer than 32 values
        ([str(i % 16) for i in range(400)], "text"),  # 4 * n_buckets distinct are not more than that
        ([str(i % 10) for i in range(400)], "categorical"),
        ([*NUMBERS * 5, "n/a"], "numeric"),  # 200 of 201 parse
        ([*NUMBERS * 4, "n/a"], "text"),
        ([*NUMBERS * 4, "inf"], "text"),
        ([f"shop {i}" for i in range(40)], "text"),
    ],
)
def test_kind(values, kind, raw_folder):
    assert fitted(raw_folder, field=values).kind("field") == kind


def test_forced_kinds_win(raw_folder):
    settings = {"force_categorical": ["code"], "force_numeric": ["level"], "force_text": ["account"]}
    vocabulary = fitted(raw_folder, settings, code=NUMBERS, level=["1"] * 40, account=NUMBERS)
    kinds = [vocabulary.kind(key) for key in ("code", "level", "account")]
    assert kinds == ["categorical", "numeric", "text"]


@pytest.mark.parametrize("empty", [None, "", " ", "nan", "NaN", "None", "NULL", "null", "<NA>", "NaT"])
def test_missing_values_have_no_vote(raw_folder, empty):
    whole = fitted(raw_folder, amount=NUMBERS * 5)
    with_gaps = fitted(raw_folder, amount=[*NUMBERS * 5, *[empty] * 100])
    assert with_gaps.kind("amount") == "numeric"
    assert {**with_gaps.state, "time_range": None} == {**whole.state, "time_range": None}


def test_missing_values_are_a_setting(raw_folder):
    values = [*NUMBERS * 4, "n/a", "nan"]
    assert fitted(raw_folder, amount=values).kind("amount") == "text"
    assert fitted(raw_folder, {"missing_values": ["n/a", "nan"]}, amount=values).kind("amount") == "numeric"
    assert fitted(raw_folder, {"missing_values": ["n/a"]}, amount=values).kind("amount") == "text"


def test_a_field_without_any_value_has_no_place_in_the_vocabulary(raw_folder):
    vocabulary = fitted(raw_folder, amount=NUMBERS, gone=["nan", None] * 20)
    assert vocabulary.kind("gone") is None
    assert "gone" not in vocabulary.state["key_vocab"]


def test_spellings_of_one_number_are_one_value(raw_folder):
    vocabulary = fitted(raw_folder, amount=["10000", "10000.0", "10000.00", "1e4", "20000"] * 8)
    assert sorted(vocabulary.state["cat_vocab"]["amount"]) == ["10000", "20000"]
    ids = vocabulary.state["cat_vocab"]["amount"]
    assert ids["10000"] < ids["20000"]


def test_a_number_is_a_number_for_features_whatever_its_tokens_are(raw_folder):
    columns = {
        "size": [str(1000 * (i % 7)) for i in range(40)],
        "amount": NUMBERS,
        "code": [f"0{i}" for i in range(40)],
        "shop": [f"shop {i}" for i in range(40)],
        "account": NUMBERS,
        "branch": NUMBERS,
    }
    vocabulary = fitted(raw_folder, {"force_text": ["account"], "force_categorical": ["branch"]}, **columns)
    assert vocabulary.kind("size") == "categorical"
    assert vocabulary.number_keys == ["amount", "branch", "size"]


def test_numbers_of_a_tokenizer_from_before_are_those_of_numeric_fields(raw_folder):
    state = fitted(raw_folder, amount=NUMBERS, size=["1", "2"] * 20).state
    earlier = Vocabulary({**{key: state[key] for key in state if key != "number_keys"}, "format_version": 1}, None)
    assert earlier.number_keys == ["amount"]
    assert earlier.rules is None


def test_dropped_fields_leave_no_trace(raw_folder):
    whole = fitted(raw_folder, amount=NUMBERS)
    dropped = fitted(raw_folder, {"drop_fields": ["account"]}, amount=NUMBERS, account=NUMBERS)
    parts = ("key_vocab", "field_kind", "binners", "number_keys", "vocab_size")
    assert [dropped.state[part] for part in parts] == [whole.state[part] for part in parts]


@pytest.mark.parametrize("setting", ["force_categorical", "force_numeric", "force_text", "drop_fields"])
def test_a_name_that_no_field_has_is_an_error_with_close_ones(raw_folder, setting):
    with pytest.raises(ConfigError, match=rf"{setting}: no field.* 'Amuont'; did you mean 'amount'"):
        fitted(raw_folder, {setting: ["Amuont"]}, amount=NUMBERS)
    with pytest.raises(ConfigError, match=r"'zzz'; the data have 'amount', 'source'"):
        fitted(raw_folder, {setting: ["zzz"]}, amount=NUMBERS)


def test_names_of_attributes_and_milestones_are_names_too(raw_folder):
    profiles = [(f"u{i}", NOW, {"age": str(i)}, [("opened", 1)]) for i in range(40)]
    settings = TokenizerConfig.from_settings({**SETTINGS, "force_numeric": ["age"], "drop_fields": ["opened"]})
    vocabulary = fit(raw_folder(events(amount=NUMBERS), profiles), settings)
    assert vocabulary.kind("age") == "numeric"
    assert vocabulary.kind("opened") is None


def test_one_name_in_two_lists_is_an_error():
    with pytest.raises(ConfigError, match="'a' is in force_categorical and in drop_fields"):
        TokenizerConfig.from_settings({"force_categorical": ["a"], "drop_fields": ["b", "a"]})
    with pytest.raises(ConfigError, match="'a' is twice in force_text"):
        TokenizerConfig.from_settings({"force_text": ["a", "a"]})


def test_a_kind_that_the_values_refuse_is_an_error(raw_folder):
    with pytest.raises(ConfigError, match=r"force_numeric: 0.0% of the values of 'shop' are numbers.*'shop 0'"):
        fitted(raw_folder, {"force_numeric": ["shop"]}, shop=[f"shop {i}" for i in range(40)])


def test_the_source_cannot_be_dropped(raw_folder):
    with pytest.raises(ConfigError, match="source"):
        fitted(raw_folder, {"drop_fields": ["source"]}, amount=NUMBERS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text_encoder": "hash"}, "text_encoder: does nothing with text_value_mode: bpe"),
        ({"text_prefix": "query: "}, "text_prefix: does nothing with text_value_mode: bpe"),
        ({"text_encoder_revision": "v1"}, "text_encoder_revision: fitting writes it"),
        ({"text_value_mode": "embed", "text_prefix": "query: "}, "text_prefix: does nothing with text_encoder: hash"),
        ({"text_value_mode": "embed", "text_encoder": "hash", "text_model": "m"}, "text_model: does nothing"),
    ],
)
def test_a_setting_that_does_nothing_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        TokenizerConfig.from_settings(settings)


def test_buckets_split_the_values_evenly_beside_zero(raw_folder):
    vocabulary = fitted(raw_folder, amount=[str(i) for i in range(1, 101)] + ["0"] * 20)
    base = vocabulary.state["binner_base"]["amount"]
    ids = vocabulary.numeric_ids("amount", np.arange(1.0, 101.0))
    assert vocabulary.numeric_ids("amount", parse_numbers(["0", "-0.0", "0e5"])).tolist() == [base] * 3
    counts = [ids.tolist().count(base + bucket) for bucket in range(1, 5)]
    assert max(counts) - min(counts) <= 2
    assert vocabulary.numeric_ids("amount", parse_numbers(["x", "", "nan", "-inf"])).tolist() == [UNK] * 4
    assert vocabulary.numeric_ids("amount", parse_numbers(["-1e300", "1e300"])).tolist() == [base + 1, base + 4]


def test_ids_do_not_overlap_and_fill_the_vocabulary(raw_folder):
    vocabulary = fitted(raw_folder, amount=NUMBERS, colour=["red", "blue"] * 20, name=[f"shop {i}" for i in range(40)])
    state = vocabulary.state
    ids = [*range(5), *state["key_vocab"].values()]
    ids += [value for values in state["cat_vocab"].values() for value in values.values()]
    ids += range(state["binner_base"]["amount"], state["binner_base"]["amount"] + 5)
    assert sorted(ids) == list(range(state["bpe_offset"]))
    pieces, _, _ = vocabulary.piece_ids([f"shop {i}" for i in range(40)] + ["日本 🍕"], most=24)
    assert state["bpe_offset"] <= pieces.min()
    assert pieces.max() < vocabulary.size <= SETTINGS["target_vocab"]


def test_counting_is_bounded(raw_folder):
    vocabulary = fitted(raw_folder, {"max_counter_distinct": 12}, name=[f"shop {i}" for i in range(40)])
    assert vocabulary.kind("name") == "text"


def test_embedded_text_needs_no_pieces_but_a_profile_does(raw_folder):
    names = [f"shop {i}" for i in range(40)]
    settings = TokenizerConfig.from_settings({**SETTINGS, "text_value_mode": "embed", "text_encoder": "hash"})
    assert fit(raw_folder(events(name=names)), settings).bpe_json is None
    profiles = [(f"u{i}", NOW, {"address": f"{i} long street"}, []) for i in range(40)]
    vocabulary = fit(raw_folder(events(name=names), profiles), settings)
    assert vocabulary.bpe_json is not None
    assert len(vocabulary.piece_ids(["3 long street"], most=24)[0]) < len("3 long street")


def test_fitting_twice_gives_the_same_hash(raw_folder, tmp_path):
    columns = {"amount": NUMBERS, "name": [f"shöp {i}" for i in range(40)]}
    first, second = fitted(raw_folder, **columns), fitted(raw_folder, **columns)
    assert first.content_hash == second.content_hash
    first.save(tmp_path)
    assert Vocabulary.load(tmp_path).content_hash == first.content_hash


def test_lower_case_is_folded_before_cutting(raw_folder):
    vocabulary = fitted(raw_folder, {"lowercase_text": True}, name=[f"SHOP {i}" for i in range(40)])
    assert vocabulary.piece_ids(["Shop 1"], 24)[0].tolist() == vocabulary.piece_ids(["SHOP 1"], 24)[0].tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_bucket": 4}, "n_bucket.*n_buckets"),
        ({"n_buckets": "four"}, "n_buckets"),
        ({"calendar_tz": "X/Y"}, "X/Y"),
        ({"earliest_time": "1971"}, "earliest_time: expected a date such as 1971-01-01"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        TokenizerConfig.from_settings(settings)
