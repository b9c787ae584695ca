"""From a bank's tables to raw data: what is written, what is rejected and why, and what happens to what is there."""

import hashlib
import json
from pathlib import Path

import pytest

from pragmatiq_builder.ingest import LimitsExceededError, ingest
from pragmatiq_builder.ingest.left_out import OLDER
from pragmatiq_builder.raw.validation import validate
from pragmatiq_triton.errors import ConfigError, DataError
from tests.builder.ingest.conftest import CARDS, Said

CARD_ROWS = """\
customer_id;booked_at;amount_gbp;merchant_name;user_id
 c1 ;25/10/2025 01:30;1.234,50;Käse & Co;z
c1;30/03/2025 01:30;-12,50;"Shop; two";z
c2;13/01/2025 10:00;5,00-;Shop;z
c2;13/01/2025 10:00;5,00-;Shop;z
;13/01/2025 10:00;5,00;Shop;z
c3;31/02/2025 10:00;5,00;Shop;z
c3;01/02/1925 10:00;5,00;Shop;z
c3;01/02/2025 10:00;12.50;Shop;z
c3;01/02/2025 10:00;(7,00);;z
c3;01/02/2025 10:00;(7,00);too;many;columns
c3;01/02/2025
c4;26/10/2025 01:30;1,0;x;z
"""
LOANS = """\
{"cust":"c1","granted":1735689600,"amount":100.0,"term_days":30}
{"cust":"c2","granted":1735689600123,"amount":
{"cust":"c3","granted":1735689601,"amount":1e3,"term_days":60,"more":{"a":1}}
"""
CUSTOMERS = """\
customer_id,snapshot_date,age,opened
c1,2025-12-31,33,1999-05-06
c1,2025-11-30,32,1999-05-06
c2,2025-12-31,,1950-01-01
c9,2025-12-31,4,
"""
LABELS = """\
customer_id,decision_date,defaulted
c1,2025-12-01,yes
c2,2025-12-01,No
c3,2025-12-01,
c8,2025-12-01,1
"""
LABEL = {"table": "cards.csv", "user": "user", "label": "amount"}
SETTINGS = {
    "events": [
        {
            "table": "cards.csv",
            "source": "card",
            "user": "customer_id",
            "time": {"column": "booked_at", "zone": "Europe/London"},
            "fields": {
                "amount": {"column": "amount_gbp", "decimal": ",", "thousands": "."},
                "merchant": "merchant_name",
            },
        },
        {
            "table": "loans*.jsonl",
            "source": "loan",
            "user": "cust",
            "time": "granted",
            "fields": ["amount", "term_days"],
        },
    ],
    "profiles": {
        "table": "customers.csv",
        "user": "customer_id",
        "as_of": "snapshot_date",
        "attributes": ["age"],
        "lifelong": {"account_opened": "opened"},
    },
    "labels": {
        "default_12m": {"table": "labels.csv", "user": "customer_id", "at": "decision_date", "label": "defaulted"}
    },
}


@pytest.fixture
def bank(tables):
    tables.write("cards.csv", CARD_ROWS)
    tables.write("loans.jsonl", LOANS)
    tables.write("customers.csv", CUSTOMERS)
    tables.write("labels.csv", LABELS)
    return tables


def test_tables_of_a_bank_become_raw_data(bank):
    said = Said()
    report = bank.ingest(**SETTINGS, progress=said)
    events = [(row["user_id"], row["ts"].isoformat(), row["source"], row["fields"]) for row in bank.events()]
    assert events == [
        ("c1", "2025-01-01T00:00:00", "loan", {"amount": "100.0", "term_days": "30"}),
        ("c1", "2025-03-30T01:30:00", "card", {"amount": "-12.50", "merchant": "Shop; two"}),
        ("c1", "2025-10-25T00:30:00", "card", {"amount": "1234.50", "merchant": "Käse & Co"}),
        ("c2", "2025-01-13T10:00:00", "card", {"amount": "-5.00", "merchant": "Shop"}),
        ("c3", "2025-01-01T00:00:01", "loan", {"amount": "1000.0", "term_days": "60"}),
        ("c3", "2025-02-01T10:00:00", "card", {"amount": "-7.00"}),
        ("c4", "2025-10-26T01:30:00", "card", {"amount": "1.0", "merchant": "x"}),
    ]
    assert [(row["user_id"], row["as_of"].date().isoformat(), dict(row["attributes"])) for row in bank.profiles()] == [
        ("c1", "2025-12-31", {"age": "33"}),
        ("c2", "2025-12-31", {}),
        ("c9", "2025-12-31", {"age": "4"}),
    ]
    assert [len(row["lifelong"]) for row in bank.profiles()] == [1, 1, 0]
    assert bank.labels("default_12m") == [("c1", 1), ("c2", 0)]
    assert validate(bank.out).ok
    assert [(table.read, table.written) for table in report.tables] == [(12, 5), (3, 2), (4, 3), (4, 2)]
    assert (report.customers, report.events, report.labels) == (4, 7, {"default_12m": [2, 1]})
    assert (report.customers_without_profile, report.profiles_without_events) == (2, 1)
    assert "events[0]: columns are parted by ';'" in said.lines
    assert len([line for line in said.lines if "of 1 times in Europe/London the local time" in line]) == 2


def test_each_rejected_row_has_its_place_its_reason_and_its_record(bank, record):
    report = bank.ingest(**SETTINGS)
    rows = bank.rejected()
    assert [(row["table"], row["file"], row["row"], row["line"], row["reason"], row["column"]) for row in rows] == [
        ("events[0]", "cards.csv", "3", "", "duplicate: every column is that of an earlier row", ""),
        ("events[0]", "cards.csv", "4", "", "no customer", "customer_id"),
        ("events[0]", "cards.csv", "5", "", "time cannot be read as dmy, Europe/London", "booked_at"),
        ("events[0]", "cards.csv", "6", "", "time is not from 1971-01-01 to 9999-12-31", "booked_at"),
        ("events[0]", "cards.csv", "7", "", "not a number", "amount_gbp"),
        ("events[0]", "cards.csv", "", "11", "no row: too many columns", ""),
        ("events[0]", "cards.csv", "", "12", "no row: missing columns", "amount_gbp"),
        ("events[1]", "loans.jsonl", "1", "", "no JSON object, or an empty one", "cust"),
        ("profiles", "customers.csv", "1", "", OLDER, ""),
        ("labels.default_12m", "labels.csv", "2", "", "no label", "defaulted"),
        ("labels.default_12m", "labels.csv", "3", "", "unknown customer: no event has it", ""),
    ]  # fmt: skip
    assert rows[4]["value"] == "12.50"
    assert record(rows[4])["merchant_name"] == "Shop"
    assert rows[5]["record"] == "c3;01/02/2025 10:00;(7,00);too;many;columns"
    assert report.rejected == len(rows)
    assert sum(sum(table.rejected.values()) for table in report.tables) == len(rows)


def test_the_same_tables_give_the_same_bytes(bank):
    def hashes():
        files = sorted(path for path in bank.out.rglob("*") if path.is_file())
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    bank.ingest(**SETTINGS)
    first, rejected = hashes(), bank.rejected()
    bank.ingest(**SETTINGS)
    assert hashes() == first
    assert {"events.parquet", "profiles.parquet", "default_12m.parquet", "ingest.json"} == first.keys()
    assert bank.rejected() == rejected


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"bad_rows": 0.4}, "events[0]: 6 bad rows of 12 rows, 50.0%; limits.bad_rows allows 40.0%"),
        ({"bad_rows": 1.0, "duplicates": 0.05}, "events[0]: 1 duplicates of 12 rows, 8.3%"),
        ({"bad_rows": 1.0, "unknown_users": 0.2}, "labels.default_12m: 1 labels of unknown customers of 4 rows, 25.0%"),
    ],
)
def test_over_a_limit_nothing_is_written_but_the_rejected_rows(bank, limits, said):
    bank.ingest(**SETTINGS)
    before = (bank.out / "ingest.json").read_bytes()
    with pytest.raises(LimitsExceededError) as raised:
        bank.ingest(**SETTINGS, limits=limits)
    assert said in str(raised.value)
    assert str(bank.folder / "out.rejected.csv") in str(raised.value)
    assert len(bank.rejected()) == 11
    assert raised.value.report.tables[0].read == 12
    assert (bank.out / "ingest.json").read_bytes() == before
    assert [path.name for path in bank.folder.iterdir() if path.name.startswith(".")] == []


def test_what_ingest_did_not_write_is_not_replaced(bank):
    bank.out.mkdir()
    (bank.out / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(ConfigError, match="was not written by ingest"):
        bank.ingest(**SETTINGS)
    (bank.out / "thesis.txt").unlink()
    bank.write("out.rejected.csv", "my,own,table\n")
    with pytest.raises(ConfigError, match=r"out.rejected.csv: is there and is no reject file"):
        bank.ingest(**SETTINGS)


def test_rows_of_many_files_are_numbered_in_their_own(tables):
    tables.write("in/a.csv", "user,at,amount\nc1,2025-01-01,1\nc1,2025-01-02,2\n")
    tables.write("in/b.csv", "user,at,amount\nc1,2025-01-03,3\nc1,never,4\n")
    tables.ingest(events=[CARDS | {"table": "in"}])
    (row,) = tables.rejected()
    assert (row["file"], row["row"], row["value"]) == ("b.csv", "1", "never")


def test_a_name_of_the_contract_may_be_that_of_a_column_that_means_something_else(tables):
    tables.write("cards.csv", "user_id,ts,source,fields,cust,at\nx,y,z,w,c1,2025-01-01\n")
    tables.ingest(events=[{"table": "cards.csv", "source": "card", "user": "cust", "time": "at",
                           "fields": {"source": "user_id", "ts": "fields"}}])  # fmt: skip
    (event,) = tables.events()
    assert (event["user_id"], event["source"], event["fields"]) == ("c1", "card", {"source": "x", "ts": "w"})


@pytest.mark.parametrize("column", ["it's", 'a"b', "a b", "größe", "$x", "a;b", "_row", "SELECT"])
def test_names_of_columns_may_be_anything(tables, column):
    quoted = '"' + column.replace('"', '""') + '"'
    tables.cards("c1,2025-01-01,it's 5", header=f"user,at,{quoted}")
    tables.ingest(events=[CARDS | {"fields": {f"f {column}": column}}])
    assert tables.events()[0]["fields"] == {f"f {column}": "it's 5"}


def test_events_of_a_column_of_sources(tables):
    tables.cards("c1,2025-01-01,1,card", "c1,2025-01-02,2,", "c1,2025-01-03,3,transfer", header="user,at,amount,kind")
    tables.ingest(events=[CARDS | {"source": {"column": "kind"}}])
    assert [row["source"] for row in tables.events()] == ["card", "transfer"]
    assert tables.reasons() == [("1", "no source")]


def test_of_events_with_one_id_the_first_stays(tables):
    at = "2025-01-01"
    rows = [f"c1,{at},1,e1", f"c1,{at},2,e1", f"c2,{at},3,e1", f"c1,{at},4,", f"c1,{at},5,"]
    tables.cards(*rows, header="user,at,amount,id")
    tables.ingest(events=[CARDS | {"event_id": "id"}])
    assert tables.amounts() == ["1", "4", "5", "3"]
    assert [row["event_id"] for row in tables.events()] == ["e1", None, None, "e1"]
    assert tables.reasons() == [("1", "event_id again: an earlier row of the customer has it, with other values")]


def test_a_row_counts_as_double_only_if_all_columns_are_the_same(tables):
    tables.cards("c1,2025-01-01,1,x", "c1,2025-01-01,1,y", "c1,2025-01-01,1,y", header="user,at,amount,unmapped")
    tables.ingest()
    assert tables.amounts() == ["1", "1"]
    tables.ingest(events=[CARDS | {"duplicates": "keep"}])
    assert tables.amounts() == ["1", "1", "1"]


def test_rows_that_where_leaves_out_are_counted_and_not_rejected(tables):
    tables.cards("c1,2025-01-01,1,ok", "c1,2025-01-02,2,void", "c1,oops,2,void", header="user,at,amount,state")
    report = tables.ingest(events=[CARDS | {"where": "state <> 'void'"}])
    assert (tables.amounts(), tables.rejected()) == (["1"], [])
    assert (report.tables[0].read, report.tables[0].left_out, report.tables[0].written) == (1, 2, 1)


def test_a_join_adds_columns_of_another_table(tables):
    tables.cards("a1,2025-01-01,1", "a2,2025-01-02,2", "a3,2025-01-03,3", header="account,at,amount")
    tables.write("accounts.csv", "id,owner,branch\na1,c1,north\na2,c1,\n")
    join = {"table": "accounts.csv", "on": {"account": "id"}, "columns": ["owner", "branch"]}
    tables.ingest(events=[CARDS | {"user": "owner", "fields": ["amount", "branch"], "join": [join]}])
    assert [(row["user_id"], row["fields"]) for row in tables.events()] == [
        ("c1", {"amount": "1", "branch": "north"}),
        ("c1", {"amount": "2"}),
    ]
    assert tables.reasons() == [("2", "no customer")]
    tables.write("accounts.csv", "id,owner,branch\na1,c1,north\na1,c2,\n")
    with pytest.raises(ConfigError, match="has id 'a1' more than once"):
        tables.ingest(events=[CARDS | {"user": "owner", "join": [join]}])


def test_profiles_without_a_moment_have_none_and_the_last_row_stays(tables):
    tables.cards("c1,2025-01-01,1", "c2,2025-01-09,2")
    tables.write("people.csv", "user,age\nc1,40\nc2,50\nc2,51\n")
    tables.ingest(profiles={"table": "people.csv", "user": "user", "attributes": ["age"]})
    found = [(row["user_id"], row["as_of"], dict(row["attributes"])) for row in tables.profiles()]
    assert found == [("c1", None, {"age": "40"}), ("c2", None, {"age": "51"})]
    assert len(tables.rejected()) == 1
    assert validate(tables.out).ok


@pytest.mark.parametrize(
    ("values", "label", "found"),
    [
        (["1", "0", "1.0", "0.0"], "y", [1, 0, 1, 0]),
        (["TRUE", "false", " t ", "F"], "y", [1, 0, 1, 0]),
        (["Yes", "no", "y", "N"], "y", [1, 0, 1, 0]),
        (["fraud", "ok", "Fraud", "ok"], {"column": "y", "positive": ["fraud"], "negative": ["ok"]}, [1, 0, 1, 0]),
        (["fraud", "ok", "what", "ok"], {"column": "y", "positive": ["fraud"]}, [1, 0, 0, 0]),
        (["3", "0", "", "1"], {"column": "y", "negative": ["0"]}, [1, 0, None, 1]),
        (["2", "0", "maybe", "1"], "y", [None, 0, None, 1]),
    ],
)
def test_labels_in_their_spellings(tables, values, label, found):
    users = [f"c{number}" for number in range(len(values))]
    tables.cards(*(f"{user},2025-01-01,1" for user in users))
    lines = [f"{user},2025-02-01,{value}\n" for user, value in zip(users, values, strict=True)]
    tables.write("l.csv", "".join(["user,at,y\n", *lines]))
    tables.ingest(labels={"t": {"table": "l.csv", "user": "user", "at": "at", "label": label}})
    expected = [(user, value) for user, value in zip(users, found, strict=True) if value is not None]
    assert tables.labels("t") == expected
    reasons = {reason for _, reason in tables.reasons()}
    assert reasons <= {"no label", "label is neither of the two"}
    assert len(tables.rejected()) == len(users) - len(expected)


def test_labels_of_events_carry_their_time_and_id(tables):
    tables.cards("c1,2025-01-01 10:00,1,e1", header="user,at,amount,id")
    tables.write("l.csv", "user,when,id,fraud\nc1,2025-01-01 10:00,e1,1\n")
    label = {"table": "l.csv", "user": "user", "event_time": "when", "event_id": "id", "label": "fraud"}
    tables.ingest(events=[CARDS | {"event_id": "id"}], labels={"fraud": label})
    assert tables.labels("fraud") == [("c1", 1)]
    assert validate(tables.out).ok


def test_ids_that_floats_spoiled(tables):
    tables.cards("1.0,2025-01-01,1", "01,2025-01-02,2")
    tables.ingest(events=[CARDS | {"user": {"column": "user", "whole_number": True}}])
    assert [row["user_id"] for row in tables.events()] == ["01", "1"]


def test_settings_say_what_is_wrong(tables):
    tables.cards("c1,2025-01-01,1")
    wrong = [
        ({"events": []}, "events: expected at least one table"),
        ({"events": [CARDS | {"query": "SELECT 1"}]}, r"events\[0\]: expected either table or query"),
        ({"events": [CARDS | {"user": "usr"}]}, r"has no column 'usr'; did you mean 'user'\? It has: user, at"),
        ({"events": [CARDS | {"table": "nothing.csv"}]}, r"there is no file or folder .*nothing.csv"),
        ({"events": [CARDS | {"table": "no*.csv"}]}, r"no file matches"),
        ({"events": [CARDS | {"time": {"column": "at", "zone": "London"}}]}, "expected a name such as Europe/London"),
        ({"events": [CARDS | {"time": {"column": "at", "format": "euro"}}]}, "format: expected auto, iso, ymd"),
        ({"events": [CARDS | {"feilds": 1}]}, "feilds"),
        ({"limits": {"bad_rows": 2}}, "bad_rows: expected a share from 0 to 1, got 2"),
        ({"labels": {"a/b": LABEL | {"at": "at"}}}, "cannot be the name of a file"),
        ({"labels": {"a": LABEL}}, r"expected either at .* or event_time"),
    ]  # fmt: skip
    for settings, said in wrong:
        with pytest.raises(ConfigError, match=said):
            tables.ingest(**settings)
    assert not tables.out.exists()
    tables.cards()
    with pytest.raises(DataError, match=r"cards\.csv has no rows"):
        tables.ingest()


def test_data_larger_than_the_memory_are_sorted_on_the_disk(tables):
    n = 500_000
    rows = (
        f"c{i * 7_919 % 5_003:05},2025-01-{i % 28 + 1:02} 10:00:{i % 60:02},{i},{f'{i:08}' * 40}\n" for i in range(n)
    )
    tables.write("cards.csv", "user,at,amount,memo\n" + "".join(rows))
    tables.ingest(events=[CARDS | {"fields": ["amount", "memo"]}], memory="150MB")
    events = tables.events()
    keys = [(row["user_id"], row["ts"]) for row in events]
    assert keys == sorted(keys)
    assert sorted(int(row["fields"]["amount"]) for row in events) == list(range(n))


def test_too_little_memory_is_one_line(tables):
    tables.cards("c1,2025-01-01,1")
    with pytest.raises((ConfigError, DataError), match="memory"):
        tables.ingest(memory="1KB")
    with pytest.raises(ConfigError, match=r"--memory lots"):
        tables.ingest(memory="lots")


def test_ingest_json_is_the_report(bank):
    report = bank.ingest(**SETTINGS)
    found = json.loads((bank.out / "ingest.json").read_bytes())
    assert found["tables"][0]["times"] == {"booked_at": "dmy, Europe/London"}
    assert (found["customers"], found["events_per_customer"]) == (4, [1, 1, 1, 2, 3])
    fields = {(each["source"], each["field"]): each for each in found["fields"]}
    amount = fields["card", "amount"]
    assert (amount["kind"], amount["least"], amount["most"], amount["missing"]) == ("number", -12.5, 1234.5, 0)
    assert fields["card", "merchant"]["missing"] == 0.2
    assert found["by_month"] == {"2025-01": 3, "2025-02": 1, "2025-03": 1, "2025-10": 2}
    assert report.histogram == {1: 2, 2: 1, 4: 1}


def test_tables_lie_beside_the_settings_wherever_the_command_runs(bank, tmp_path, monkeypatch):
    bank.ingest(**SETTINGS)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    ingest(Path("../ingest.yaml"), Path("raw"))
    assert (elsewhere / "raw" / "events.parquet").exists()


def test_customers_that_tables_write_otherwise_are_told(tables):
    tables.cards("0007,2025-01-01,1", "0008,2025-01-02,2")
    tables.write("labels.csv", "user,at,label\n7,2025-02-01,1\n8,2025-02-01,0\n0007,2025-02-01,1\n")
    tables.write("people.csv", "user,age\n7.0,40\n0008,50\n")
    told = Said()
    tables.ingest(
        progress=told,
        labels={"late": {"table": "labels.csv", "user": "user", "at": "at", "label": "label"}},
        profiles={"table": "people.csv", "user": "user", "attributes": ["age"]},
    )
    alike = "of {} differ from known ones in {} alone, such as {} and '0007': write both alike"
    assert [line for line in told.lines if "alike" in line] == [
        "profiles: customers without events; 1 "
        + alike.format(1, 'leading zeros, ".0", spaces or capital letters', "'7.0'"),
        "labels.late: customers without events; 2 " + alike.format(2, "leading zeros", "'7'"),
    ]


def test_progress_ends_at_the_rows_that_are_written(bank):
    steps = Steps()
    bank.ingest(progress=steps, **SETTINGS)
    assert steps.done["Reading events[0]: cards.csv, in percent"] == (100, 100)
    assert steps.done["Sorting and writing events"] == (7, 7)


class Steps(Said):
    """How much of each stage is done, and of how much."""

    def __init__(self) -> None:
        super().__init__()
        self.done: dict[str, tuple[int, int | None]] = {}
        self._newest = ""

    def stage(self, title: str, total: int | None) -> None:
        self._newest = title
        self.done[title] = (0, total)

    def advance(self, steps: int, note: str = "") -> None:
        done, total = self.done[self._newest]
        self.done[self._newest] = (done + steps, total)


def test_customers_that_one_table_writes_in_several_ways_are_told(tables):
    tables.cards("007,2025-01-01,1", "7,2025-01-02,2", "7.0,2025-01-03,3", "8,2025-01-04,4")
    told = Said()
    report = tables.ingest(progress=told)
    note = (
        "1 customers may be written in several ways, such as '007' and '7.0': they are read as different ones; write "
        "them alike if they are one"
    )
    assert note in told.lines
    assert note in report.tables[0].notes
    assert report.customers == 4


def test_labels_that_contradict_each_other_are_rejected(tables):
    tables.cards("c1,2025-01-01,5", "c2,2025-01-01,5")
    rows = ["c1,2025-02-01,1", "c1,2025-02-01,0", "c1,2025-03-01,1", "c2,2025-02-01,0", "c1,2025-02-01,1"]
    tables.write("labels.csv", "\n".join(["user,at,late,no", *(f"{row},{at}" for at, row in enumerate(rows))]) + "\n")
    settings = {"late": {"table": "labels.csv", "user": "user", "at": "at", "label": "late"}}
    report = tables.ingest(labels=settings)
    assert tables.labels("late") == [("c1", 1), ("c2", 0)]
    assert [(row["row"], row["reason"].split(":")[0]) for row in tables.rejected()] == [
        (row, "contradictory label") for row in ("0", "1", "4")
    ]
    assert sum(report.tables[1].rejected.values()) == 3
    assert validate(tables.out).ok
    with pytest.raises(LimitsExceededError, match=r"labels.late: 3 bad rows of 5 rows"):
        tables.ingest(labels=settings, limits={})


def test_labels_of_two_events_of_one_moment_do_not_contradict(tables):
    tables.cards("c1,2025-01-01,5,p1", "c1,2025-01-01,6,p2", header="user,at,amount,no")
    tables.write("labels.csv", "user,at,fraud,no\nc1,2025-01-01,0,p1\nc1,2025-01-01,1,p2\n")
    label = {"table": "labels.csv", "user": "user", "event_time": "at", "label": "fraud", "event_id": "no"}
    tables.ingest(events=[CARDS | {"event_id": "no"}], labels={"fraud": label})
    assert tables.labels("fraud") == [("c1", 0), ("c1", 1)]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"positive": ["badd"]}, "labels.late: mark: no row has badd; the values are bad (2), good (1), null (1)"),
        (
            {"positive": ["bad"]},
            "read as 0, since only the other class is named: good (1), null (1)",
        ),
        (
            {"negative": ["bad"]},
            "read as 1, since only the other class is named: good (1), null (1)",
        ),
        ({"positive": ["badd"]}, "labels.late: all 4 labels are 0; finetune needs both 0 and 1"),
        ({}, "labels.late: there are no labels; finetune needs both 0 and 1"),
    ],
)
def test_what_values_of_a_label_are_taken_for_is_said(tables, label, said):
    tables.cards("c1,2025-01-01,5")
    rows = [f"c1,2025-0{at}-01,{value}" for at, value in enumerate(["bad", "Bad", "good", "NULL"], 2)]
    tables.write("labels.csv", "\n".join(["user,at,mark", *rows]) + "\n")
    settings = {"table": "labels.csv", "user": "user", "at": "at", "label": {"column": "mark", **label}}
    progress = Said()
    report = tables.ingest(labels={"late": settings}, progress=progress)
    for notes in (progress.lines, report.tables[1].notes):
        assert any(note.endswith(said) for note in notes)


def test_numbers_of_a_label_may_be_written_with_zeros_and_named_without_quotes(tables):
    tables.cards("c1,2025-01-01,5")
    for values, label in ((["1.00", "0.00"], {}), (["2.0", "1.0"], {"positive": [2], "negative": [1]})):
        rows = [f"c1,2025-0{at}-01,{value}" for at, value in enumerate(values, 2)]
        tables.write("labels.csv", "\n".join(["user,at,mark", *rows]) + "\n")
        settings = {"table": "labels.csv", "user": "user", "at": "at", "label": {"column": "mark", **label}}
        tables.ingest(labels={"late": settings})
        assert tables.labels("late") == [("c1", 1), ("c1", 0)]


def test_texts_have_no_range_and_bare_words_of_yaml_a_hint(tables):
    tables.cards(*(f"c{at},2025-01-01,{'7' if at == 3 else f'shop {at}'}" for at in range(30)))
    (field,) = tables.ingest().fields
    assert field.kind != "number"
    assert (field.least, field.most) == (None, None)
    label = {"table": "cards.csv", "user": "user", "at": "at", "label": {"column": "amount", "positive": [True]}}
    with pytest.raises(ConfigError, match=r'positive.*YAML takes yes, no, .* for booleans: write "yes" in quotes'):
        tables.ingest(labels={"churn": label})
