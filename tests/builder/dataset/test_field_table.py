import json

import pytest

from pragmatiq_builder import raw
from pragmatiq_builder.dataset import field_table
from pragmatiq_builder.dataset.field_table import Field, FieldTable, percent
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.tokenizer import TokenizerConfig

NOW = 1_700_000_000_000_000

SMALL = {"n_buckets": 4, "categorical_threshold": 10, "target_vocab": 700}


def table_of(data, out, **settings):
    """Tokenize and read the table: rows by part and name, and the table itself."""
    tokenize(data, out, TokenizerConfig.from_settings({**SMALL, **settings}))
    table = FieldTable.load(out)
    return {(row.part, row.name): row for row in table.fields}, table


@pytest.fixture
def data(raw_folder):
    events = [
        (
            f"u{ts // 20}",
            NOW + ts,
            "card",
            {"amount": [str(ts), f"{ts}.0", "nan", None][ts % 4], "shop": f"shop {ts % 20}", "gone": ""},
        )
        for ts in range(80)
    ]
    profiles = [("u1", NOW + 90, {"age": "40", "amount": "nan"}, [("opened", 1), ("opened", 2)])]
    return raw_folder(events, profiles)


def test_a_row_says_what_a_field_holds(data, tmp_path):
    rows, table = table_of(data, tmp_path / "tok", drop_fields=["age"])
    amount = rows["events", "amount"]
    assert (amount.kind, amount.values, amount.missing, amount.distinct) == ("numeric", 40, 40, 40)
    assert (amount.missing_share, amount.number_share, amount.unknown) == (0.5, 1.0, 0)
    assert amount.examples == ["0", "1", "12"]
    shop = rows["events", "shop"]
    assert (shop.kind, shop.distinct, shop.number_share, shop.values) == ("text", 20, 0, 80)
    assert shop.tokens > 80
    assert rows["events", "source"].kind == "categorical"
    gone = rows["events", "gone"]
    assert (gone.kind, gone.values, gone.missing, gone.tokens) == ("missing", 0, 80, 0)
    assert rows["attributes", "age"].kind == "dropped"
    assert (rows["attributes", "amount"].values, rows["attributes", "amount"].missing) == (0, 1)
    opened = rows["milestones", "opened"]
    assert (opened.kind, opened.values, opened.distinct) == ("categorical", 2, 1)
    assert list(rows) == sorted(rows, key=lambda key: (["events", "attributes", "milestones"].index(key[0]), key[1]))
    assert table.left_out == 0


def test_tokens_that_the_limits_take_are_counted_by_field(raw_folder, tmp_path):
    fields = {f"f{i}": "x" for i in range(6)}
    profile = {"a": "1", "b": "2", "c": "3"}
    data = raw_folder([("u", NOW + ts, "card", fields) for ts in range(5)], [("u", NOW + 9, profile, [("opened", 1)])])
    rows, table = table_of(data, tmp_path / "tok", max_event_tokens=4, max_profile_tokens=2, max_events_per_user=3)
    assert {name: row.cut_tokens for (part, name), row in rows.items() if part == "events"} == {
        "source": 0, "f0": 0, "f1": 0, "f2": 0, "f3": 5, "f4": 5, "f5": 5,
    }  # fmt: skip
    assert [rows["attributes", name].cut_tokens for name in "abc"] == [0, 0, 1]
    assert rows["milestones", "opened"].cut_tokens == 1
    texts = "\n".join(table.warnings)
    assert "max_event_tokens = 4 cuts 5 events; tokens lost by field: 'f3' 5, 'f4' 5, 'f5' 5" in texts
    assert "max_profile_tokens = 2 cuts 1 profiles; tokens lost by field: 'c' 1, 'opened' 1" in texts
    assert "max_events_per_user = 3: 1 users have more events; the oldest 2 are not seen" in texts


def test_a_text_cut_in_the_middle_is_counted(raw_folder, tmp_path):
    data = raw_folder([("u", NOW + ts, "card", {"memo": f"words {ts} and more words"}) for ts in range(40)])
    rows, _ = table_of(data, tmp_path / "tok", max_event_tokens=3)
    memo = rows["events", "memo"]
    assert memo.tokens - memo.cut_tokens == 40 * 2


def test_few_fields_are_listed_and_the_rest_counted(data, tmp_path, monkeypatch):
    monkeypatch.setattr("pragmatiq_builder.dataset.field_warnings.MOST_FIELDS", 3)
    rows, table = table_of(data, tmp_path / "tok")
    assert ({name for _, name in rows}, table.left_out) == ({"amount", "shop", "gone"}, 4)


def test_examples_are_short_printable_and_on_one_line(raw_folder, tmp_path):
    data = raw_folder([("u", NOW, "card", {"memo": "a\nb\x1b[31m", "long": "x" * 500})])
    rows, _ = table_of(data, tmp_path / "tok")
    assert rows["events", "memo"].examples == ["a\\nb\\x1b[31m"]
    assert rows["events", "long"].examples == ["x" * 32 + "..."]


def test_distinct_values_are_counted_up_to_a_bound(raw_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("pragmatiq_builder.dataset.field_counts.MOST_DISTINCT", 10)
    rows, _ = table_of(raw_folder([("u", NOW + ts, "card", {"n": str(ts)}) for ts in range(50)]), tmp_path / "tok")
    assert (rows["events", "n"].distinct, rows["events", "n"].distinct_at_least) == (10, True)


def test_a_folder_without_a_table_has_none_and_a_damaged_one_is_named(tmp_path):
    assert FieldTable.load(tmp_path) is None
    (tmp_path / field_table.FILE).write_text("[", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"fields\.json.*tokenize again"):
        FieldTable.load(tmp_path)


def test_as_json_it_has_the_shares(data, tmp_path):
    _, table = table_of(data, tmp_path / "tok")
    values = json.loads(json.dumps(table.to_dict()))
    assert values["fields"][0]["name"] == "amount"
    assert values["fields"][0]["missing_share"] == 0.5
    assert values["fields_left_out"] == 0
    assert isinstance(values["warnings"], list)


NEXT_MONTH = [
    (
        "u",
        NOW + ts,
        ["card", "app"][ts % 4 == 0],
        {"amount": str(ts * 3), "colour": ["red", "green"][ts % 2], "new": "1"},
    )
    for ts in range(80)
]


@pytest.fixture
def next_month(raw_folder, tmp_path):
    """The table of a month of the tokenizer's own data, and the next month's."""
    first = [("u", NOW + ts, "card", {"amount": str(ts), "colour": ["red", "blue"][ts % 2]}) for ts in range(80)]
    _, before = table_of(raw_folder(first), tmp_path / "tok")
    tokenize(raw_folder(NEXT_MONTH), tmp_path / "next", tokenizer_dir=tmp_path / "tok" / "tokenizer")
    return before, FieldTable.load(tmp_path / "next")


def test_the_next_month_says_what_the_tokenizer_does_not_know(next_month):
    before, table = next_month
    rows = {row.name: row for row in table.fields}
    assert (rows["colour"].unknown_share, rows["colour"].unseen, rows["colour"].fitted.unknown) == (0.5, ["green"], 0)
    assert (rows["source"].unknown_share, rows["source"].unseen) == (0.25, ["app"])
    assert (rows["new"].kind, rows["new"].unknown_share, rows["new"].fitted) == ("unknown", 1, None)
    # Edges at a quarter, a half and three quarters of 1..79; zero has a bucket of its own.
    assert before.fields[0].outside == 19 + 20
    amounts = [3 * ts for ts in range(80)]
    assert rows["amount"].outside == sum(0 < amount < 20 or amount >= 60 for amount in amounts)
    assert rows["amount"].fitted.outside == 39 / 80
    totals = table.totals
    assert (totals.values, totals.unseen_values, totals.unseen_sources) == (320, 60, 20)
    assert (totals.unseen_fields, totals.values_of_unseen_fields) == (1, 80)
    assert (table.fitted, table.fitted_shares.unknown, table.fitted_shares.outside) == (False, 0, 39 / 80)
    assert before.fitted is True


def test_the_month_after_is_held_against_the_data_of_the_fit_too(next_month, raw_folder, tmp_path):
    tokenize(raw_folder(NEXT_MONTH), tmp_path / "after", tokenizer_dir=tmp_path / "next" / "tokenizer")
    assert FieldTable.load(tmp_path / "after") == next_month[1]


def test_as_json_the_unknown_stands_beside_what_it_was(next_month):
    values = json.loads(json.dumps(next_month[1].to_dict()))
    assert values["unknown"]["unknown_share"] == round((60 + 80) / 320, 4)
    assert values["unknown"]["fitted"] == {"unknown": 0.0, "outside": 39 / 80}
    (colour,) = (row for row in values["fields"] if row["name"] == "colour")
    assert (colour["unknown_share"], colour["fitted"]["unknown"]) == (0.5, 0.0)


def test_little_is_told_from_none():
    assert [percent(share) for share in (0.0, 0.0001, 0.5, 0.9999, 1.0)] == [
        "0.0%",
        "<0.1%",
        "50.0%",
        ">99.9%",
        "100.0%",
    ]


def test_the_table_is_the_same_in_one_chunk_and_in_many(data, tmp_path, monkeypatch):
    _, whole = table_of(data, tmp_path / "tok")
    monkeypatch.setattr(raw.read_events, "__defaults__", (7, *raw.read_events.__defaults__[1:]))
    _, chunked = table_of(data, tmp_path / "again")
    assert chunked == whole
    assert isinstance(chunked.fields[0], Field)
