"""Features of the bank's own: fitted by moment, refused by name, and scored from a request as they were fitted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.finetune import encoding
from pragmatiq_builder.finetune.evaluate import evaluate
from pragmatiq_builder.finetune.finetune import finetune
from pragmatiq_builder.finetune.labels import LabelledRows, read_labels
from pragmatiq_builder.finetune.own_features import with_own_features
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.heads import Head
from pragmatiq_builder.predict import predict
from pragmatiq_builder.raw.ids import hashed_ids
from pragmatiq_builder.raw.own_features import read_feature_table
from pragmatiq_builder.raw.records import read_records
from pragmatiq_builder.runs import load_run
from pragmatiq_triton.errors import ConfigError, DataError
from pragmatiq_triton.in_process import InProcessModels
from pragmatiq_triton.time_range import PLAUSIBLE
from tests.builder.finetune.customers import Bank, exported_once, make_bank

HYBRID = FinetuneSettings(method="hybrid")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "exported", exported_once)
        yield make_bank(tmp_path_factory.mktemp("bank"))


def write_features(path: Path, bank: Bank, kind: str = "user", **changes: Any) -> Path:
    """A file with a feature that tells the label, and one of noise."""
    labels = pq.read_table(bank.labels["user" if kind == "user" else "event"])
    told = labels["label"].to_numpy() + np.random.default_rng(0).normal(0, 0.1, len(labels))
    noise = pa.array([None if row % 3 == 0 else float(row % 7) for row in range(len(labels))])
    columns = {name: labels[name] for name in labels.column_names if name != "label"}
    columns |= {"bureau": told, "limit": noise} | changes
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="module")
def features(bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_features(tmp_path_factory.mktemp("features") / "own.parquet", bank)


@pytest.fixture(scope="module")
def head(bank: Bank, features: Path) -> Head:
    return finetune(bank.run, bank.data, bank.labels["user"], "churn", HYBRID, features_file=features)


def test_a_feature_that_tells_the_label_is_found_and_evaluated(bank: Bank, head: Head, features: Path) -> None:
    assert head.feature_names[-2:] == ("own:bureau", "own:limit")
    assert head.info["own_features"]["names"] == ["bureau", "limit"]
    found = evaluate(bank.run, bank.data, bank.labels["user"], "churn", features_file=features, replicates=60)
    assert found.metrics["hybrid"]["roc_auc"].value > 0.98
    assert found.metrics["counts"]["roc_auc"].value < 0.9
    with pytest.raises(ConfigError, match=r"reads bureau, limit, .* own.parquet; give --features"):
        evaluate(bank.run, bank.data, bank.labels["user"], "churn", overwrite=True)


def test_a_request_brings_them_and_predict_reads_the_same(
    bank: Bank, head: Head, features: Path, tmp_path: Path
) -> None:
    repository, raw = tmp_path / "repository", bank.data.folder.parent / "raw"
    export_repository(load_run(bank.run.path), repository)
    table = pq.read_table(features)
    assert 'key: "own_features"' in (repository / "tokenizer" / "config.pbtxt").read_text()
    done = predict(raw, repository, tmp_path / "out.parquet", at=bank.labels["user"], features=features, processes=1)
    out = {row["row"]: row for row in pq.read_table(done.out).to_pylist()}
    records = {record["user_id"]: record for record in read_records(raw)}
    with InProcessModels(repository, threads=1) as models:

        def score(number: int, own: dict[str, Any]) -> float:
            row = table.slice(number, 1).to_pylist()[0]
            at = int(np.datetime64(row["eval_ts"], "us").astype(np.int64))
            record = {**records[row["user_id"]], "eval_ts": at, "features": own}
            (answer,) = models.answers([json.dumps(record).encode()])
            assert not isinstance(answer, Exception), answer
            return float(answer["scoring"].scores[0])

        assert done.rows_without_features == 0
        for number in (0, 7, 100):
            own = {name: table[name][number].as_py() for name in ("bureau", "limit")}
            assert score(number, own) == pytest.approx(out[number]["churn"], abs=1e-6)
        assert abs(score(7, {"bureau": 0.0}) - score(7, {"bureau": 1.0})) > 0.1
        samples = {sample.name: sample.value for sample in models._tokenizer.samples()}
        assert samples["pragmatiq_unknown_features_total"] == 0
        score(7, {"bureau": 1.0, "burau": 2, "limit": None})
        samples = {sample.name: sample.value for sample in models._tokenizer.samples()}
        assert samples["pragmatiq_unknown_features_total"] == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"label": 1}, "the column label tells the answer"),
        ({"bureau": "text"}, "the column bureau is string, expected numbers"),
        ({"bureau": np.inf}, "row 0: bureau is inf, expected a finite number"),
        ({"__index_level_0__": 1}, "is pandas' index and no feature"),
        ({"my score": 1.0}, "the column 'my score': expected 1 to 64 letters"),
    ],
)
def test_what_is_no_feature_is_refused_by_name(bank: Bank, tmp_path: Path, changes: Any, problem: str) -> None:
    n = len(pq.read_table(bank.labels["user"]))
    file = write_features(tmp_path / "own.parquet", bank, **{name: pa.array([v] * n) for name, v in changes.items()})
    with pytest.raises(DataError, match=problem):
        finetune(bank.run, bank.data, bank.labels["user"], "other", HYBRID, features_file=file)


class Twins:
    """Two customers; the second has two events at one moment, of which one or both have an id."""

    user_ids = ("a", "b")
    times = PLAUSIBLE

    def __init__(self, *event_ids: int) -> None:
        self._event_ids = event_ids

    def event_times(self, user: int) -> Any:
        return np.asarray([AT] if user == 0 else [AT, AT])

    def event_ids(self, user: int) -> Any:
        return np.asarray([0] if user == 0 else self._event_ids, np.uint64)

    def event_sources(self, user: int) -> Any:
        return np.zeros(len(self.event_times(user)), np.int64)

    def source_name(self, source: int) -> str:
        return "card"


AT = 1_700_000_000_000_000
TWIN_ROWS = LabelledRows(
    "event", np.asarray([0, 1, 1]), np.full(3, AT), np.asarray([0, 1, 0], np.int8), {}, np.asarray([0, 0, 1])
)


def twin_features(path: Path, **columns: Any) -> Path:
    moments = pa.array([AT] * 3, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"user_id": ["b", "a", "b"], "ts": moments, "x": [1.0, 2.0, 3.0], **columns}), path)
    return path


def test_events_of_one_moment_have_each_their_own_by_event_id(tmp_path: Path) -> None:
    file = twin_features(tmp_path / "own.parquet", event_id=["second", None, "first"])
    hashed = [int(value) for value in hashed_ids(pa.array(["first", "second"]))]
    rows = with_own_features(TWIN_ROWS, file, Twins(*hashed))
    assert rows.own is not None
    assert rows.own[:, 0].tolist() == [2.0, 3.0, 1.0]


def test_events_of_one_moment_that_the_file_does_not_tell_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'b' has two rows of different numbers at 2023-11-14"):
        with_own_features(TWIN_ROWS, twin_features(tmp_path / "own.parquet"), Twins(0, 0))
    same = twin_features(tmp_path / "same.parquet", x=pa.array([1.0, 2.0, 1.0]))
    with pytest.raises(DataError, match=r"two labelled events of user_id 'b' .* give the events' event_id"):
        with_own_features(TWIN_ROWS, same, Twins(0, 0))


def test_labelled_rows_that_the_file_lacks_are_unknown_and_told(bank: Bank, features: Path, tmp_path: Path) -> None:
    table = pq.read_table(features)
    pq.write_table(table.slice(10).append_column("spare", pa.nulls(len(table) - 10)), tmp_path / "fewer.parquet")
    rows = read_labels(bank.labels["user"], bank.data)
    found = with_own_features(rows, tmp_path / "fewer.parquet", bank.data)
    assert found.own is not None
    n_lacking = int(np.isnan(found.own[:, 0]).sum())
    assert 0 < n_lacking <= 10
    lacking, empty = found.cautions[-2:]
    assert lacking.startswith(f"{n_lacking} of {len(rows.at)} labelled rows are not in fewer.parquet")
    assert empty == "fewer.parquet: no labelled row has a value of spare."


def test_a_folder_of_parts_is_read_as_its_file(features: Path, tmp_path: Path) -> None:
    table = pq.read_table(features)
    (tmp_path / "parts").mkdir()
    for number, part in enumerate((table.slice(0, 50), table.slice(50).select([*reversed(table.column_names)]))):
        pq.write_table(part, tmp_path / "parts" / f"part-{number}.parquet")
    whole, parts = read_feature_table(features), read_feature_table(tmp_path / "parts")
    assert (parts.names, parts.time, parts.row_of) == (whole.names, whole.time, whole.row_of)
    np.testing.assert_array_equal(parts.values, whole.values)
    pq.write_table(table.drop_columns("limit"), tmp_path / "parts" / "part-2.parquet")
    with pytest.raises(DataError, match=r"part-2.parquet: has the columns bureau, other parts have bureau, limit"):
        read_feature_table(tmp_path / "parts")


def test_another_method_has_no_use_for_them(bank: Bank, features: Path) -> None:
    with pytest.raises(ConfigError, match="do nothing with method: probe; choose method: hybrid"):
        finetune(bank.run, bank.data, bank.labels["user"], "other", FinetuneSettings(), features_file=features)
