import numpy as np
import pytest

from builder.dataset.fit import fit
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.tokenizer import TokenizerConfig, Vocabulary
from pragmatiq_triton.tokenizer.vocabulary import UNK, parse_numbers

SETTINGS = {"n_buckets": 4, "categorical_threshold": 10, "target_vocab": 700}


def events(**columns):
    rows = zip(*columns.values(), strict=True)
    return [("u", i, "s", dict(zip(columns, row, strict=True))) for i, row in enumerate(rows)]


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
    settings = {"force_categorical": ["code"], "force_numeric": ["level"]}
    vocabulary = fitted(raw_folder, settings, code=NUMBERS, level=["1"] * 40)
    assert (vocabulary.kind("code"), vocabulary.kind("level")) == ("categorical", "numeric")


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
    pieces, _ = vocabulary.piece_ids([f"shop {i}" for i in range(40)] + ["日本 🍕"])
    assert state["bpe_offset"] <= pieces.min()
    assert pieces.max() < vocabulary.size <= SETTINGS["target_vocab"]


def test_counting_is_bounded(raw_folder):
    vocabulary = fitted(raw_folder, {"max_counter_distinct": 12}, name=[f"shop {i}" for i in range(40)])
    assert vocabulary.kind("name") == "text"


def test_embedded_text_needs_no_pieces_but_a_profile_does(raw_folder):
    names = [f"shop {i}" for i in range(40)]
    settings = TokenizerConfig.from_settings({**SETTINGS, "text_value_mode": "embed", "text_encoder": "hash"})
    assert fit(raw_folder(events(name=names)), settings).bpe_json is None
    profiles = [(f"u{i}", 1, {"address": f"{i} long street"}, []) for i in range(40)]
    vocabulary = fit(raw_folder(events(name=names), profiles), settings)
    assert vocabulary.bpe_json is not None
    assert len(vocabulary.piece_ids(["3 long street"])[0]) < len("3 long street")


def test_fitting_twice_gives_the_same_hash(raw_folder, tmp_path):
    columns = {"amount": NUMBERS, "name": [f"shöp {i}" for i in range(40)]}
    first, second = fitted(raw_folder, **columns), fitted(raw_folder, **columns)
    assert first.content_hash == second.content_hash
    first.save(tmp_path)
    assert Vocabulary.load(tmp_path).content_hash == first.content_hash


def test_lower_case_is_folded_before_cutting(raw_folder):
    vocabulary = fitted(raw_folder, {"lowercase_text": True}, name=[f"SHOP {i}" for i in range(40)])
    assert vocabulary.piece_ids(["Shop 1"])[0].tolist() == vocabulary.piece_ids(["SHOP 1"])[0].tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"n_bucket": 4}, "n_bucket.*n_buckets"), ({"n_buckets": "four"}, "n_buckets"), ({"calendar_tz": "X/Y"}, "X/Y")],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        TokenizerConfig.from_settings(settings)
