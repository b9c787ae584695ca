"""``ingest init``: guesses for tables that nobody described, and settings that run as they were written."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pragmatiq_builder.ingest import ingest
from pragmatiq_builder.ingest.csv_files import _title_lines
from pragmatiq_builder.ingest.draft import draft_settings
from pragmatiq_builder.ingest.settings import Csv
from pragmatiq_builder.raw.validation import validate
from pragmatiq_builder.synth import generate
from pragmatiq_triton.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    generate(folder, 60, 0)
    return folder


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> Path:
    """The synthetic customers as a bank's exports: three tables in three dialects, with names of its own."""
    folder = tmp_path_factory.mktemp("flat")
    events = pq.read_table(synthetic / "events.parquet").to_pylist()
    payments = [row | dict(row["fields"]) for row in events if row["source"] == "transaction"]
    with gzip.open(folder / "card_payments.csv.gz", "wt", encoding="cp1252", errors="replace", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["payment_no", "kunde_id", "booked_at", "value_date", "amount_gbp", "merchant_name", "mcc",
                         "currency", "customer_email"])  # fmt: skip
        for number, row in enumerate(payments):
            amount = f"{float(row['amount']):,.2f}".translate(str.maketrans(",.", ".,"))
            writer.writerow([f"P{number:08}", row["user_id"], row["ts"].strftime("%d.%m.%Y %H:%M:%S"),
                             row["ts"].strftime("%d.%m.%Y"), amount, row.get("merchant"), row.get("mcc"), "GBP",
                             f"{row['user_id']}@example.com"])  # fmt: skip
    others = [row for row in events if row["source"] == "app"]
    pq.write_table(
        pa.table(
            {
                "cust_no": [row["user_id"] for row in others],
                "event_epoch": [int(row["ts"].timestamp() * 1000) for row in others],
                "screen": [dict(row["fields"]).get("screen") or "none" for row in others],
                "seconds": np.random.default_rng(0).uniform(0, 60, len(others)),
            }
        ),
        folder / "app_events.parquet",
    )
    with (folder / "customers.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "first_name", "last_name", "snapshot_date", "account_opened", "age_band"])
        for row in pq.read_table(synthetic / "profiles.parquet").to_pylist():
            writer.writerow([row["user_id"], "Ann", "Smith", "2025-02-01", row["lifelong"][0]["ts"].date(),
                             dict(row["attributes"])["age_band"]])  # fmt: skip
    with (folder / "defaults.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "decision_date", "defaulted"])
        for row in pq.read_table(synthetic / "labels" / "default_12m.parquet").to_pylist():
            writer.writerow([row["user_id"], row["eval_ts"].date(), "yes" if row["label"] else "no"])
    with (folder / "chargebacks.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "event_epoch", "chargeback"])
        for row in others[::7]:
            writer.writerow([row["user_id"], int(row["ts"].timestamp() * 1000), int(row["ts"].second % 2)])
    return folder


FLAT = ["card_payments.csv.gz", "app_events.parquet", "customers.csv", "defaults.csv", "chargebacks.csv"]


def draft(folder: Path, tables: list[str], monkeypatch: pytest.MonkeyPatch, out: Path, **options) -> dict:
    monkeypatch.chdir(folder)
    draft_settings(tables, out, **options)
    return yaml.safe_load(out.read_text(encoding="utf-8"))


def test_the_columns_of_flat_exports_are_told(flat, monkeypatch, tmp_path):
    found = draft(flat, FLAT, monkeypatch, flat / "ingest.yaml", zone="Europe/London", overwrite=True)
    cards, app = found["events"]
    assert cards == {
        "table": "card_payments.csv.gz",
        "user": "kunde_id",
        "source": "card_payments",
        "time": {"column": "booked_at", "format": "dmy", "zone": "Europe/London"},
        "event_id": "payment_no",
        "fields": {
            "amount_gbp": {"column": "amount_gbp", "decimal": ",", "thousands": "."},
            "merchant_name": "merchant_name",
            "mcc": "mcc",
        },
    }
    assert app == {
        "table": "app_events.parquet",
        "user": "cust_no",
        "source": "app_events",
        "time": {"column": "event_epoch", "unit": "ms"},
        "fields": {"screen": "screen", "seconds": "seconds"},
    }
    assert found["profiles"] == {
        "table": "customers.csv",
        "user": "customer_id",
        "as_of": {"column": "snapshot_date", "format": "iso", "zone": "Europe/London"},
        "lifelong": {"account_opened": {"column": "account_opened", "format": "iso", "zone": "Europe/London"}},
        "attributes": {"age_band": "age_band"},
    }
    assert found["labels"]["defaulted"]["at"]["column"] == "decision_date"
    assert found["labels"]["chargeback"]["event_time"] == {"column": "event_epoch", "unit": "ms"}
    written = (flat / "ingest.yaml").read_text(encoding="utf-8")
    for left_out in (
        "# left out: customer_email, looks like personal data, by its name",
        "# left out: currency, always 'GBP'",
        "# left out: value_date, a further moment; as a field it would be a text",
        "# left out: first_name, looks like the names of people",
    ):
        assert left_out in written
    assert "CHECK" not in "\n".join(written.splitlines()[2:])


def test_what_was_written_runs_as_it_is(flat, monkeypatch, tmp_path):
    draft(flat, FLAT, monkeypatch, flat / "ingest.yaml", overwrite=True)
    report = ingest(flat / "ingest.yaml", tmp_path / "raw")
    assert report.rejected == 0
    assert report.customers_without_profile == 0
    assert report.events == sum(table.read for table in report.tables[:2])
    assert validate(tmp_path / "raw").ok


SHARED = Path(__file__).parents[4] / "shared" / "data"
"""Data sets that may lie beside a checkout."""
DATA_SETS = ["synthetic", *(path.name for path in sorted(SHARED.glob("*")))]


@pytest.mark.parametrize("name", DATA_SETS)
def test_raw_data_are_told_too(synthetic, monkeypatch, tmp_path, name):
    folder = synthetic if name == "synthetic" else SHARED / name
    labels = sorted(path.name for path in (folder / "labels").glob("*.parquet"))
    tables = ["events.parquet", "profiles.parquet", *(f"labels/{label}" for label in labels)]
    found = draft(folder, tables, monkeypatch, tmp_path / "ingest.yaml")
    (events,) = found["events"]
    assert (events["user"], events["time"], events["source"]) == ("user_id", "ts", {"column": "source"})
    assert events["fields"] == {"*": "fields"}
    profiles = found["profiles"]
    assert (profiles["user"], profiles["as_of"]) == ("user_id", "as_of")
    assert (profiles["attributes"], profiles["lifelong"]) == ({"*": "attributes"}, {"*": "lifelong"})
    for label in labels:
        task = found["labels"][label.removesuffix(".parquet")]
        names = pq.read_schema(folder / "labels" / label).names
        if "label" not in names:
            continue
        assert (task["user"], task["label"]) == ("user_id", "label")
        if "eval_ts" in names:
            assert task["at"] == "eval_ts"
        elif "ts" in names:
            assert task["event_time"] == "ts"


def test_raw_data_become_the_same_raw_data(synthetic, monkeypatch, tmp_path):
    tables = ["events.parquet", "profiles.parquet", "labels/fraud.parquet"]
    draft(synthetic, tables, monkeypatch, tmp_path / "ingest.yaml")
    ingest(tmp_path / "ingest.yaml", tmp_path / "raw")
    for name in tables:
        first, second = (pq.read_table(folder / name) for folder in (synthetic, tmp_path / "raw"))
        keys = [(key, "ascending") for key in ("user_id", "ts", "as_of") if key in first.column_names]
        assert [_plain(row) for row in second.sort_by(keys).to_pylist()] == [
            _plain(row) for row in first.sort_by(keys).to_pylist()
        ]


def _plain(row):
    return {name: sorted(value) if name in ("fields", "attributes") else value for name, value in row.items()}


def write_people(folder: Path, column: str, values: list[str]) -> None:
    rows = "".join(f"c{at % 30},2025-01-{at % 28 + 1:02} 10:00,{value}\n" for at, value in enumerate(values))
    (folder / "cards.csv").write_text(f"customer,at,{column}\n{rows}", encoding="utf-8")


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("contact", [f"p{at}@bank.example" for at in range(60)], "e-mail addresses"),
        ("target_iban", ["GB29NWBK60161331926819"] * 60, "personal data, by its name"),
        ("ref", ["GB29 NWBK 6016 1331 9268 19", "DE89370400440532013000"] * 30, "IBANs"),
        ("token", ["4111111111111111", "5500 0000 0000 0004"] * 30, "numbers of cards"),
        ("call", [f"+44 20 7946 {at:04}" for at in range(60)], "phone numbers"),
        ("customerSurname", ["Smith"] * 60, "personal data, by its name"),
        ("holder_name", ["A Smith", "B Jones"] * 30, "names of people"),
    ],
)
def test_personal_data_are_left_out_by_name(monkeypatch, tmp_path, column, values, reason):
    write_people(tmp_path, column, values)
    found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml")
    assert found["events"][0]["fields"] == {}
    written = (tmp_path / "ingest.yaml").read_text(encoding="utf-8")
    assert f"# left out: {column}, looks like" in written
    assert reason in written


@pytest.mark.parametrize("column", ["merchant_name", "name", "shop", "mailing", "panel"])
def test_names_of_things_are_no_personal_data(monkeypatch, tmp_path, column):
    write_people(tmp_path, column, ["Corner Shop", "Mill"] * 30)
    found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml")
    assert found["events"][0]["fields"] == {column: column}


def test_what_cannot_be_told_says_check(monkeypatch, tmp_path):
    rows = "".join(f"c{at % 5},{at % 11 + 1:02}/{at % 12 + 1:02}/2025 10:00,{at}.5\n" for at in range(60))
    (tmp_path / "cards.csv").write_text(f"customer,at,amount\n{rows}", encoding="utf-8")
    found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml")
    assert found["events"][0]["time"] == {"column": "at", "format": "dmy"}
    written = (tmp_path / "ingest.yaml").read_text(encoding="utf-8")
    assert "# CHECK: may be day and month (dmy) or month and day (mdy), and no value tells" in written
    assert "# CHECK: at says no zone, and is read as UTC" in written


def test_another_table_of_the_export_tells_between_day_and_month(monkeypatch, tmp_path):
    rows = "".join(f"c{at % 5},{at % 28 + 1:02}.{at % 12 + 1:02}.2025 10:00,{at}.5\n" for at in range(60))
    (tmp_path / "cards.csv").write_text(f"customer,at,amount\n{rows}", encoding="utf-8")
    people = "".join(f"c{at},01.06.2025,04.0{at + 1}.2019\n" for at in range(5))
    (tmp_path / "people.csv").write_text(f"customer,snapshot,opened\n{people}", encoding="utf-8")
    found = draft(tmp_path, ["cards.csv", "people.csv"], monkeypatch, tmp_path / "ingest.yaml", zone="Europe/London")
    assert found["profiles"]["as_of"] == {"column": "snapshot", "format": "dmy", "zone": "Europe/London"}
    assert found["profiles"]["lifelong"]["opened"]["format"] == "dmy"
    written = (tmp_path / "ingest.yaml").read_text(encoding="utf-8")
    assert "# as at of cards.csv; 2019-04-01 to 2019-04-05" not in written
    assert "# as at of cards.csv; 2019-01-04 to 2019-05-04" in written
    assert "CHECK" not in "\n".join(written.splitlines()[2:])


@pytest.mark.parametrize("ids", [False, True])
def test_decisions_on_days_with_payments_are_of_customers_unless_ids_say_otherwise(monkeypatch, tmp_path, ids):
    days = [f"{day:02}.{month:02}.2025 {1 if month == 7 else 0:02}:00" for month in (1, 7) for day in range(1, 29)]
    rows = [f"P{at},c{at % 4},{day},{at}.5" for at, day in enumerate(days * 4)]
    (tmp_path / "cards.csv").write_text("payment_id,customer,at,amount\n" + "\n".join(rows) + "\n", encoding="utf-8")
    labels = [f"P{at},c{at % 4},{days[at]},{'yes' if at % 3 else 'no'}" for at in range(50)]
    if not ids:
        labels = [label.partition(",")[2] for label in labels]
    header = "payment_id,customer,decided_at,defaulted\n" if ids else "customer,decided_at,defaulted\n"
    (tmp_path / "labels.csv").write_text(header + "\n".join(labels) + "\n", encoding="utf-8")
    found = draft(tmp_path, ["cards.csv", "labels.csv"], monkeypatch, tmp_path / "ingest.yaml")
    assert ("event_time" in found["labels"]["defaulted"]) is ids
    assert ("event_id" in found["labels"]["defaulted"]) is ids


def test_moments_of_other_customers_payments_make_no_label_of_an_event(monkeypatch, tmp_path):
    rows = [f"c{at % 6},2025-01-{at % 28 + 1:02} 10:{at % 60:02}:{at % 7:02},{at}.5" for at in range(120)]
    (tmp_path / "cards.csv").write_text("customer,at,amount\n" + "\n".join(rows) + "\n", encoding="utf-8")
    labels = [f"c{(at + 1) % 6},{rows[at].split(',')[1]},{at % 2}" for at in range(60)]
    (tmp_path / "labels.csv").write_text("customer,at,fraud\n" + "\n".join(labels) + "\n", encoding="utf-8")
    found = draft(tmp_path, ["cards.csv", "labels.csv"], monkeypatch, tmp_path / "ingest.yaml")
    assert "event_time" not in found["labels"]["fraud"]


def test_a_customer_that_cannot_be_told_is_refused_until_it_is_named(monkeypatch, tmp_path):
    rows = "".join(f"x{at % 5},2025-01-01 10:00:{at:02},{at}.5\n" for at in range(60))
    (tmp_path / "cards.csv").write_text(f"who,at,amount\n{rows}", encoding="utf-8")
    found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml")
    assert found["events"][0]["user"] == "???"
    with pytest.raises(ConfigError, match=r"cards.csv has no column '\?\?\?'; it has: who, at, amount"):
        ingest(tmp_path / "ingest.yaml", tmp_path / "raw")


def test_tables_without_events(monkeypatch, tmp_path):
    (tmp_path / "people.csv").write_text("customer,age\nc1,40\nc2,50\n", encoding="utf-8")
    told = r"people.csv has 2 rows, customer customer, moment in no column, columns customer, age; name one"
    with pytest.raises(ConfigError, match=rf"no table looks like events .*: {told}"):
        draft(tmp_path, ["people.csv"], monkeypatch, tmp_path / "ingest.yaml")


def test_values_that_would_break_a_comment_do_not(monkeypatch, tmp_path):
    shops = ['"sh\x00op"', '"two\nlines"', '"next\x85line"', '"\x1b[31mred"']
    rows = "".join(f"c{at % 7},2025-01-{at % 27 + 1:02} 10:00,{at}.5,{shops[at % 4]}\n" for at in range(100))
    (tmp_path / "cards.csv").write_text(f"customer,at,amount,shop\n{rows}", encoding="utf-8")
    found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml")
    assert found["events"][0]["fields"] == {"amount": "amount", "shop": "shop"}
    assert ingest(tmp_path / "ingest.yaml", tmp_path / "raw").events == 100


def test_answers_win_over_guesses(monkeypatch, tmp_path):
    rows = "".join(f"x{at % 5},2025-01-01 10:00:{at:02},{at}.5\n" for at in range(60))
    (tmp_path / "cards.csv").write_text(f"who,at,amount\n{rows}", encoding="utf-8")
    asked = []

    def answer(question, default, choices):
        asked.append((question.split(": ")[1], default, choices))
        return {"what is a row?": "events", "which column is the customer?": "who"}.get(asked[-1][0], default)

    found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml", ask=answer)
    assert (found["events"][0]["user"], found["events"][0]["time"]["column"]) == ("who", "at")
    assert asked[1] == ("which column is the customer?", "???", ["who", "at", "amount"])


def test_a_file_that_is_there_stays(monkeypatch, tmp_path):
    (tmp_path / "ingest.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="exists already; --overwrite replaces it"):
        draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml")
    with pytest.raises(ConfigError, match="there is no file or folder"):
        draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml", overwrite=True)
    (tmp_path / "cards.csv").write_text("customer,at\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"cards\.csv: has no rows"):
        draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml", overwrite=True)
    assert (tmp_path / "ingest.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("mark", [".", ","])
def test_days_of_a_spreadsheet_are_told_by_the_name_of_their_column(mark, monkeypatch, tmp_path):
    rows = [f"c{at % 5};{45658 + at / 7:.6f};{40000 + at}.50".replace(".", mark) for at in range(40)]
    (tmp_path / "cards.csv").write_text("customer;booked_at;balance\n" + "\n".join(rows) + "\n", encoding="utf-8")
    found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml", zone="Europe/London")
    (cards,) = found["events"]
    assert cards["time"] == {"column": "booked_at", "unit": "excel", "zone": "Europe/London"}
    assert [*cards["fields"]] == ["balance"]
    assert ingest(tmp_path / "ingest.yaml", tmp_path / "raw").events == 40


def test_days_of_a_spreadsheet_are_told_by_their_seconds_where_no_name_tells(monkeypatch, tmp_path):
    rows = [
        f"c{at % 5};{round((45658 + at / 7) * 86400) / 86400:.9f};{40000 + at}.52;{40000 + at / 7:.5f}"
        for at in range(40)
    ]
    (tmp_path / "cards.csv").write_text("customer;x;balance;rate\n" + "\n".join(rows) + "\n", encoding="utf-8")
    found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml", zone="Europe/London")
    (cards,) = found["events"]
    assert cards["time"] == {"column": "x", "unit": "excel", "zone": "Europe/London"}
    assert [*cards["fields"]] == ["balance", "rate"]


TITLED = {
    "one line": (",", "Payments of 2025\n"),
    "padded": (";", "Bank of X;;\nAccount:;123;\n;;\n"),
    "blank": (",", "\n\n"),
    "for excel": (";", "sep=;\n"),
    "comments": ("\t", "# made by x\n# 2025-01-01\n"),
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", TITLED)
def test_lines_above_the_names_of_columns_are_found_and_written(name, end, monkeypatch, tmp_path):
    mark, titles = TITLED[name]
    titles = titles.replace("\n", end)
    rows = [["customer", "booked_at", "shop"], *([f"c{at % 5}", f"2025-01-{1 + at % 28:02}", "a"] for at in range(40))]
    (tmp_path / "cards.csv").write_bytes((titles + "".join(mark.join(row) + "\n" for row in rows)).encode())
    found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml")
    (cards,) = found["events"]
    skip = titles.count("\n")
    assert (cards["csv"], cards["user"], cards["time"]["column"]) == ({"skip": skip}, "customer", "booked_at")
    assert ingest(tmp_path / "ingest.yaml", tmp_path / "raw").events == 40
    del cards["csv"]
    (tmp_path / "ingest.yaml").write_text(yaml.safe_dump(found), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"cards.csv: its first .* of column names .* add csv: {{skip: {skip}}}"):
        ingest(tmp_path / "ingest.yaml", tmp_path / "raw")


@pytest.mark.parametrize(
    "head",
    ["customer,booked_at,", ",customer,booked_at", "customer,booked_at,shop\nx,,", "customer\nc1\nc2", "a b"],
)
def test_names_of_columns_are_not_taken_for_titles(head, tmp_path):
    (tmp_path / "cards.csv").write_text(
        head + "\n" + "c1,2025-01-01,a\n" * (40 if "," in head else 0), encoding="utf-8"
    )
    assert _title_lines(tmp_path / "cards.csv", Csv()) == 0


@pytest.mark.parametrize("values", [["good", "bad"], ["2", "1"], ["0", "1", "2"], ["-1", "1"], ["0", "1", "NULL"]])
def test_labels_of_other_values_are_asked_for_and_are_no_events(values, monkeypatch, tmp_path):
    cards = [f"c{at % 5},2025-01-{1 + at % 28:02} 09:30,{at}" for at in range(40)]
    (tmp_path / "cards.csv").write_text("customer,booked_at,amount\n" + "\n".join(cards) + "\n", encoding="utf-8")
    labels = [f"c{at % 5},2025-0{2 + at // 5}-01,{values[at % len(values)]}" for at in range(20)]
    (tmp_path / "marks.csv").write_text("customer,decision_date,bad\n" + "\n".join(labels) + "\n", encoding="utf-8")
    found = draft(tmp_path, ["cards.csv", "marks.csv"], monkeypatch, tmp_path / "ingest.yaml")
    assert [each["table"] for each in found["events"]] == ["cards.csv"]
    assert found["labels"]["bad"]["label"] == {"column": "bad", "positive": ["???"]}
    with pytest.raises(ConfigError, match=r"labels.bad: label: say in place of '\?\?\?' which of its values mean 1"):
        ingest(tmp_path / "ingest.yaml", tmp_path / "raw")
    found["labels"]["bad"]["label"]["positive"] = [values[1]]
    (tmp_path / "ingest.yaml").write_text(yaml.safe_dump(found), encoding="utf-8")
    report = ingest(tmp_path / "ingest.yaml", tmp_path / "raw")
    assert report.labels["bad"] == [20, sum(values[at % len(values)] == values[1] for at in range(20))]


def test_a_column_of_events_that_flags_them_makes_no_labels_of_them(monkeypatch, tmp_path):
    rows = [f"c{at % 5},2025-01-{1 + at % 28:02} 09:30,{at},{'abc'[at % 3]}" for at in range(40)]
    for flag in ("flag", "outcome", "is_manual"):
        (tmp_path / "cards.csv").write_text(f"customer,booked_at,amount,{flag}\n" + "\n".join(rows) + "\n", "utf-8")
        found = draft(tmp_path, ["cards.csv"], monkeypatch, tmp_path / "ingest.yaml", overwrite=True)
        assert [*found["events"][0]["fields"]] == ["amount", flag]
