"""One customer has one score, however the record comes: mapping, JSON, typed, frame or table."""

import importlib
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pragmatiq_triton as pt
from pragmatiq_client import Event, Record
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError, MissingDependencyError
from tests.conftest import RECORDS

T0 = 1_700_000_000_000_000
CUSTOMERS = [
    {
        "user_id": user,
        "events": [
            {"ts": T0 + i * 3_600_000_000, "source": "transaction", "fields": {"amount": amount, "merchant": "TESCO"}}
            for i, amount in enumerate(amounts)
        ],
        "attributes": {"country": country},
    }
    for user, amounts, country in [("b", ["5.00", "812.5"], "GB"), ("a", ["7.25"], "FR")]
]
EVENTS = [
    {"user_id": customer["user_id"], "ts": event["ts"], "source": event["source"], **event["fields"]}
    for customer in CUSTOMERS
    for event in customer["events"]
]
PROFILES = [{"user_id": customer["user_id"], **customer["attributes"]} for customer in CUSTOMERS]


@pytest.fixture(scope="module")
def model(api_repository):
    loaded = pt.load(api_repository, threads=1)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def expected(model):
    scores = model.score(CUSTOMERS)
    assert scores[0]["churn"] != pytest.approx(scores[1]["churn"], abs=1e-4)
    return scores


def make(kind, rows):
    if kind == "arrow":
        return pa.Table.from_pylist(rows)
    return importlib.import_module(kind).DataFrame(rows)


def check(frame, expected):
    assert type(frame).__module__.startswith("pandas")
    assert frame.index.name == "user_id"
    assert frame.index.tolist() == ["b", "a"]
    assert frame.columns.tolist() == ["amount", "churn", "loan"]
    np.testing.assert_allclose(frame.to_numpy(), [[*scores.values()] for scores in expected], rtol=0, atol=1e-6)


def test_a_record_is_a_mapping_its_json_or_typed(model, expected):
    typed = Record(
        events=[
            Event(
                datetime.fromtimestamp(T0 / 1e6, UTC), "transaction", {"amount": Decimal("7.25"), "merchant": "TESCO"}
            )
        ],
        user_id="a",
        attributes={"country": "FR"},
    )
    for record in (CUSTOMERS[1], json.dumps(CUSTOMERS[1]), json.dumps(CUSTOMERS[1]).encode(), typed):
        assert model.score(record) == pytest.approx(expected[1], abs=1e-6)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_a_table_of_events_and_profiles_is_its_customers(kind, model, expected):
    check(model.score(make(kind, EVENTS), profiles=make(kind, PROFILES)), expected)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_a_table_of_customers_is_its_customers(kind, model, expected):
    check(model.score(make(kind, CUSTOMERS)), expected)


def test_an_arrow_map_of_fields_is_the_fields(model, expected):
    rows = [
        {"user_id": c["user_id"], "ts": e["ts"], "source": e["source"], "fields": [*e["fields"].items()]}
        for c in CUSTOMERS
        for e in c["events"]
    ]
    fields = pa.map_(pa.string(), pa.string())
    schema = pa.schema([("user_id", pa.string()), ("ts", pa.int64()), ("source", pa.string()), ("fields", fields)])
    check(model.score(pa.Table.from_pylist(rows, schema), profiles=pa.Table.from_pylist(PROFILES)), expected)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_a_null_in_a_fields_column_is_a_field_that_the_event_does_not_have(kind, model, expected):
    rows = [{**row, "memo": None} for row in EVENTS] + [
        {"user_id": "c", "ts": T0, "source": "app", "amount": None, "merchant": None, "memo": "hello"}
    ]
    profiles = [*PROFILES, {"user_id": "d", "country": None}]
    frame = model.score(make(kind, rows), profiles=make(kind, profiles))
    assert frame.index.tolist() == ["b", "a", "c", "d"]
    check(frame.iloc[:2], expected)
    alone = model.score([{"events": [{"ts": T0, "source": "app", "fields": {"memo": "hello"}}]}, {"events": []}])
    np.testing.assert_allclose(frame.iloc[2:].to_numpy(), [[*s.values()] for s in alone], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_features_of_one_s_own_come_in_records_and_in_profiles(kind, model, expected):
    given = [{"bureau": -9.0}, {"bureau": 9.0}]
    own = [{**customer, "features": features} for customer, features in zip(CUSTOMERS, given, strict=True)]
    scores = model.score(own)
    assert abs(scores[0]["amount"] - expected[0]["amount"]) > 1e-3
    assert scores[0]["churn"] == expected[0]["churn"]
    check(model.score(make(kind, own)), scores)
    profiles = [{**row, "features": features} for row, features in zip(PROFILES, given, strict=True)]
    check(model.score(make(kind, EVENTS), profiles=make(kind, profiles)), scores)


def test_more_records_than_are_asked_at_once_stay_in_order(model):
    records = [json.loads(raw) for raw in RECORDS] * 12
    assert len(records) > 128
    vectors = model.embed(records)
    np.testing.assert_allclose(vectors[-len(RECORDS) :], [model.embed(raw) for raw in RECORDS], rtol=0, atol=1e-5)


def test_embeddings_are_of_the_network_that_is_asked(model):
    plain, adapted = model.embed(CUSTOMERS), model.embed(CUSTOMERS, model="scoring_loan")
    assert plain.shape == adapted.shape == (2, 64)
    assert np.abs(plain - adapted).max() > 0.01
    frame = model.embed(make("pandas", EVENTS), profiles=make("pandas", PROFILES))
    np.testing.assert_allclose(frame.to_numpy(), plain, rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="expected one of scoring, scoring_loan"):
        model.embed(CUSTOMERS, model="loan")


def test_info_says_what_the_model_is(model, api_repository):
    assert model.tasks == ["amount", "churn", "loan"]
    assert model.info["tasks"] == {"scoring": ["amount", "churn"], "scoring_loan": ["loan"]}
    assert (model.info["repository"], model.info["variant"], model.info["dim"]) == (str(api_repository), "bpe", 64)


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([CUSTOMERS[0], {"events": [{"ts": 5, "source": "x"}]}], r"record 1: \$\.events\[0\]\.ts: expected micros"),
        ({"events": [{"ts": T0, "source": "x", "fields": {"amount": object()}}]}, r"record 0: \$.*amount"),
        ([CUSTOMERS[0], 7], r"record 1: \$: expected a mapping, got an int"),
        ("{", r"record 0: \$: expected one JSON object"),
    ],
)
def test_a_record_that_breaks_the_contract_is_named(records, told, model):
    with pytest.raises(DataError, match=told):
        model.score(records)


@pytest.mark.parametrize(
    ("rows", "profiles", "told"),
    [
        ([{"user_id": "a", "source": "x"}], None, "a table of events: no column ts"),
        ([{"user_id": "a", "events": [], "country": "GB"}], None, "unknown columns country"),
        ([{"user_id": "a", "events": []}], PROFILES, "leave the argument out"),
        (EVENTS, [PROFILES[0], PROFILES[0]], "'b' is in two rows"),
        (EVENTS, [{"country": "GB"}], "profiles: no column user_id"),
        ([{**EVENTS[0], "fields": {"amount": "1"}}], None, "leaves no room for amount, merchant"),
    ],
)
def test_a_table_that_cannot_be_meant_is_named(rows, profiles, told, model):
    with pytest.raises(DataError, match=told):
        model.score(make("arrow", rows), profiles=profiles and make("arrow", profiles))


def test_profiles_beside_records_are_refused(model):
    with pytest.raises(DataError, match="goes with a table of events"):
        model.score(CUSTOMERS, profiles=make("arrow", PROFILES))


def test_without_pandas_a_table_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        model.score(make("arrow", EVENTS))


def test_a_folder_that_is_no_repository_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="expected a model repository"):
        pt.load(tmp_path)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_an_id_is_the_same_as_a_number_and_as_text(kind, model, expected):
    number = {"b": 9007199254740993, "a": 7}
    events = [{**row, "user_id": number[row["user_id"]]} for row in EVENTS]
    profiles = [{**row, "user_id": str(number[row["user_id"]])} for row in PROFILES]
    frame = model.score(make(kind, events), profiles=make(kind, profiles))
    assert frame.index.tolist() == [9007199254740993, 7]
    np.testing.assert_allclose(frame.to_numpy(), [[*scores.values()] for scores in expected], rtol=0, atol=1e-6)


def test_profiles_that_are_written_otherwise_give_a_warning(model):
    profiles = [{**row, "user_id": f"{row['user_id']} "} for row in PROFILES]
    with pytest.warns(UserWarning, match=r"2 of 2 differ from known ones in spaces .* 'a ' and 'a'") as warned:
        model.score(make("arrow", EVENTS), profiles=make("arrow", profiles))
    assert warned[0].filename == __file__, "the line that called is shown"


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ts": None}, r"row 1 \(user_id 'b'\), column ts: expected (int|a moment), got"),
        ({"ts": 5}, r"row 1 \(user_id 'b'\), column ts: expected microseconds"),
        ({"source": None}, r"row 1 \(user_id 'b'\), column source: expected str, got null"),
        ({"user_id": None}, r"row 1, column user_id: expected text, .* \(a missing value\)"),
        ({"memo": ["x"]}, r"row 1 \(user_id 'b'\), column memo: expected bool"),
    ],
)
def test_what_is_wrong_with_a_table_is_named_by_row_and_column(kind, change, told, model):
    others = {name: None for name in change if name not in EVENTS[0]}
    rows = [{**row, **(change if at == 1 else others)} for at, row in enumerate(EVENTS)]
    if kind == "pandas" and change == {"ts": None}:
        frame = make(kind, rows).astype({"ts": "Int64"})
    else:
        frame = make(kind, rows)
    with pytest.raises(DataError, match=told):
        model.score(frame)


def test_a_column_that_is_there_twice_is_refused(model):
    pandas = importlib.import_module("pandas")
    frame, table = make("pandas", EVENTS), make("arrow", EVENTS)
    for twice in (
        pandas.concat([frame, frame[["amount"]]], axis=1),
        table.append_column("amount", table["amount"]),
        frame.assign(one="x").rename(columns={"one": 1}).assign(**{"1": "y"}),
    ):
        with pytest.raises(DataError, match=r"the column '(amount|1)' is there twice"):
            model.score(twice)


def test_what_is_neither_a_record_nor_a_table_is_named(model):
    lazy = make("polars", EVENTS).lazy()
    for given, told in (
        (None, "got NoneType"),
        (5, "got int"),
        (lazy, r"collect\(\) it first"),
        (make("pandas", EVENTS).set_index("user_id"), r"user_id is in the index, of which reset_index\(\)"),
    ):
        with pytest.raises(DataError, match=told):
            model.score(given)
    with pytest.raises(DataError, match=r"profiles: expected a frame .* got a list"):
        model.score(make("pandas", EVENTS), profiles=PROFILES)


def test_what_raw_data_hold_is_a_table(model, expected, tmp_path):
    fields = pa.map_(pa.string(), pa.string())
    rows = [
        {
            "user_id": c["user_id"],
            "ts": e["ts"],
            "source": e["source"],
            "fields": [*e["fields"].items()],
            "event_id": "x",
        }
        for c in CUSTOMERS
        for e in c["events"]
    ]
    text = pa.string()
    schema = pa.schema(
        [("user_id", text), ("ts", pa.int64()), ("source", text), ("fields", fields), ("event_id", text)]
    )
    table = pa.Table.from_pylist(rows, schema)
    for events in (table, table.to_pandas()):
        check(model.score(events, profiles=make("arrow", PROFILES)), expected)
    twice = pa.array([[("amount", "1"), ("amount", "2")]] * len(table), fields)
    with pytest.raises(DataError, match=r"row 0, column fields: a key is in the map twice"):
        model.score(table.set_column(3, "fields", twice))


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_times_without_a_zone_are_utc_as_predict_reads_them(kind, model, expected):
    at = {row["ts"]: datetime.fromtimestamp(row["ts"] / 1e6, UTC).replace(tzinfo=None) for row in EVENTS}
    events = [{**row, "ts": at[row["ts"]]} for row in EVENTS]
    check(model.score(make(kind, events), profiles=make(kind, PROFILES)), expected)
    nested = [
        {**customer, "events": [{**event, "ts": at[event["ts"]]} for event in customer["events"]]}
        for customer in CUSTOMERS
    ]
    check(model.score(make(kind, nested)), expected)


def test_the_files_of_raw_data_score_as_predict_scores_them(model, api_repository, tmp_path):
    data = tmp_path / "synth"
    pt.synth(data, users=5, progress=False)
    pt.predict(data, api_repository, tmp_path / "out.parquet", processes=1, progress=False)
    predicted = pq.read_table(tmp_path / "out.parquet").to_pandas().set_index("user_id")
    events, profiles = (pq.read_table(data / f"{name}.parquet") for name in ("events", "profiles"))
    frame = model.score(events, profiles=profiles)
    assert sorted(frame.index) == sorted(predicted.index)
    np.testing.assert_allclose(frame.to_numpy(), predicted.loc[frame.index].to_numpy(), rtol=0, atol=1e-6)


def test_two_spellings_of_an_id_in_one_column_give_a_warning(model):
    pandas = importlib.import_module("pandas")
    ids = {"b": "0007", "a": 7}
    events = pandas.DataFrame([{**row, "user_id": ids[row["user_id"]]} for row in EVENTS])
    customers = pandas.DataFrame([{**row, "user_id": ids[row["user_id"]]} for row in CUSTOMERS])
    for table in (events, customers):
        with pytest.warns(UserWarning, match="1 customers may be written in several ways, such as '0007' and '7'") as w:
            assert model.score(table).index.tolist() == ["0007", 7]
        assert w[0].filename == __file__, "the line that called is shown"


def test_nanoseconds_of_a_polars_frame_are_not_cut(model):
    polars = importlib.import_module("polars")
    frame = make("polars", EVENTS).with_columns(
        (
            polars.from_epoch("ts", "us").cast(polars.Datetime("ns")) + polars.duration(nanoseconds=7)
        ).dt.replace_time_zone("UTC")
    )
    with pytest.raises(DataError, match="row 0, column ts: expected whole microseconds"):
        model.score(frame)


def test_a_relation_of_duckdb_is_a_table(model, expected):
    duckdb = importlib.import_module("duckdb")
    with duckdb.connect() as connection:
        events, profiles = (connection.from_arrow(make("arrow", rows)) for rows in (EVENTS, PROFILES))
        check(model.score(events, profiles=profiles), expected)


@pytest.mark.parametrize(
    ("made", "told"), [("run.yaml", "this is a run; `pragmatiq export"), ("events.parquet", "this is raw data")]
)
def test_another_artifact_in_the_place_of_a_repository_is_told_by_name(made, told, tmp_path):
    (tmp_path / made).touch()
    with pytest.raises(ArtifactError, match=told):
        pt.load(tmp_path)
