"""Own dates, parts that the labels say, the last fit to all rows, and a head of last month's on later rows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.finetune import encoding, fitting
from pragmatiq_builder.finetune import final as module
from pragmatiq_builder.finetune.calibration import fit_calibrator
from pragmatiq_builder.finetune.encoding import users_of
from pragmatiq_builder.finetune.evaluate import evaluate
from pragmatiq_builder.finetune.final import finetune_final
from pragmatiq_builder.finetune.finetune import finetune, head_folder
from pragmatiq_builder.finetune.fitting import score
from pragmatiq_builder.finetune.inputs import HeadInputs, LabelledInputs, feature_names_of_rows
from pragmatiq_builder.finetune.labels import read_labels
from pragmatiq_builder.finetune.settings import FinetuneSettings, finetune_settings
from pragmatiq_builder.finetune.splits import SplitSettings, folds
from pragmatiq_builder.heads import load_head
from pragmatiq_builder.heads.saved import EVALUATION_FILE
from pragmatiq_builder.info import describe
from pragmatiq_builder.metrics import Evaluation
from pragmatiq_builder.metrics.files import rows_of
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError
from tests.builder.counting import Counting
from tests.builder.finetune.customers import Bank, exported_once, make_bank
from tests.builder.finetune.test_finetune import LORA, PROBE

FEW = {"replicates": 60}
FROM, BEFORE, LATER = "2024-01-10", "2023-12-20", "2024-01-20"
DATED = msgspec.structs.replace(PROBE, split=SplitSettings(test_from=FROM, calibration_from=BEFORE))


def moment(date: str) -> int:
    return int(np.datetime64(date, "us").astype(np.int64))


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "exported", exported_once)
        # Trying trees, too, takes most of the time.
        patch.setattr(fitting, "choose_classifier", lambda *_: "logistic")
        yield make_bank(tmp_path_factory.mktemp("bank"))


def labels(bank: Bank) -> Path:
    return bank.labels["user"]


def ready(bank: Bank, task: str, settings: FinetuneSettings = DATED) -> Path:
    """A head that was fitted and evaluated."""
    finetune(bank.run, bank.data, labels(bank), task, settings, overwrite=True)
    evaluate(bank.run, bank.data, labels(bank), task, overwrite=True, **FEW)
    return head_folder(bank.run, task)


def test_dates_decide_the_parts_of_fitting_and_of_evaluating(bank: Bank) -> None:
    folder = ready(bank, "dated")
    rows, info = read_labels(labels(bank), bank.data), load_head(folder).info
    test = rows.at >= moment(FROM)
    calibration = ~test & (rows.at >= moment(BEFORE))
    assert {name: part["rows"] for name, part in info["rows"].items()} == {
        "train": np.count_nonzero(~test & ~calibration),
        "calibration": np.count_nonzero(calibration),
        "test": np.count_nonzero(test),
    }
    assert (info["split_by"], info["left_out"], info["cutoff_ts"]) == ("dates", 0, moment(FROM) - 1)
    assert info["fitted_until_ts"] == rows.at[~test].max()
    found = msgspec.json.decode((folder / EVALUATION_FILE).read_bytes(), type=Evaluation)
    assert found.protocol == "all users, later dates"
    assert msgspec.to_builtins(found.splits["test"]) == info["rows"]["test"]
    users = users_of(bank.data, rows)
    known = np.isin(users[test], users[~test]).sum()
    assert f"{known} of {test.sum()} test rows are of users" in found.cautions[-1]
    assert f"{known} of {test.sum()} test rows" in info["split"]


def split_labels(bank: Bank, path: Path, parts: Any) -> Path:
    pq.write_table(pq.read_table(labels(bank)).append_column("split", pa.array(parts, pa.string())), path)
    return path


def test_a_column_split_decides_the_parts(bank: Bank, tmp_path: Path) -> None:
    n_rows = len(read_labels(labels(bank), bank.data).at)
    parts = np.random.default_rng(0).choice(["train", "validation", "test"], n_rows).astype(object)
    parts[:3] = None
    file = split_labels(bank, tmp_path / "split.parquet", parts)
    head = finetune(bank.run, bank.data, file, "own", PROBE)
    counts = {name: part["rows"] for name, part in head.info["rows"].items()}
    names = {"train": "train", "calibration": "validation", "test": "test"}
    assert counts == {name: np.count_nonzero(parts == said) for name, said in names.items()}
    assert head.info["skipped"] == {"split missing": 3}
    assert evaluate(bank.run, bank.data, file, "own", **FEW).protocol == "the part that the labels call test"
    with pytest.raises(ConfigError, match="column split, which these labels have not"):
        evaluate(bank.run, bank.data, labels(bank), "own", tmp_path, **FEW)
    with pytest.raises(ConfigError, match="test_from does nothing with labels that have a column split"):
        finetune(bank.run, bank.data, file, "other", DATED)


def test_a_part_that_is_none_is_named(bank: Bank, tmp_path: Path) -> None:
    n_rows = len(pq.read_table(labels(bank)))
    file = split_labels(bank, tmp_path / "split.parquet", ["train"] * (n_rows - 1) + ["Test"])
    with pytest.raises(DataError, match="split is none of train, validation, calibration, test"):
        read_labels(file, bank.data)


def test_a_row_in_two_parts_is_named(bank: Bank, tmp_path: Path) -> None:
    file = split_labels(bank, tmp_path / "split.parquet", ["train"] * len(pq.read_table(labels(bank))))
    table = pq.read_table(file)
    again = table.slice(0, 1).set_column(table.column_names.index("split"), "split", pa.array(["test"]))
    pq.write_table(pa.concat_tables([table, again]), file)
    with pytest.raises(DataError, match=r"two rows at .* in two parts by the column split"):
        read_labels(file, bank.data)


@pytest.mark.parametrize("settings", [DATED, pytest.param(LORA, marks=pytest.mark.slow)], ids=["probe", "lora"])
def test_a_final_head_is_fitted_to_all_rows_and_keeps_its_evaluation(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, settings: FinetuneSettings
) -> None:
    task = f"final_{settings.method}"
    folder = ready(bank, task, settings)
    before = {file.name: file.read_bytes() for file in folder.glob("evaluation*")}
    evaluated = load_head(folder)
    trained: list[int] = []
    read_again: list[bool] = []
    original = module.fit_task

    def fit_task(case: Any, train: Any, **given: Any) -> Any:
        trained.append(len(train))
        fit = original(case, train, **given)
        read_again.append(fit.inputs is not given.get("inputs"))
        return fit

    monkeypatch.setattr(module, "fit_task", fit_task)
    told = Counting()
    head = finetune_final(bank.run, bank.data, labels(bank), task, told)
    rows = read_labels(labels(bank), bank.data)
    assert trained[0] == len(rows.at)
    assert len(trained) == 6
    assert sum(read_again) == (6 if settings.method == "lora" else 1)
    assert {file.name: file.read_bytes() for file in folder.glob("evaluation*")} == before
    saved = load_head(folder)
    assert saved.info == head.info
    assert saved.info["final"]["rows"]["rows"] == len(rows.at)
    assert saved.info["rows"] == evaluated.info["rows"]
    assert saved.info["fitted_until_ts"] == rows.at.max()
    assert not np.array_equal(saved.classifier.weights, evaluated.classifier.weights)
    assert f"now fitted to all {len(rows.at)} rows" in told.lines[-1]
    assert describe(bank.run.path)[1]["fitted_to_all_rows"][task] == saved.info["final"]["rows"]


def test_a_final_head_is_calibrated_on_scores_of_fits_to_other_users(bank: Bank) -> None:
    folder = ready(bank, "calibrated")
    head = finetune_final(bank.run, bank.data, labels(bank), "calibrated")
    rows = read_labels(labels(bank), bank.data)
    users = users_of(bank.data, rows)
    with np.load(folder / "inputs.npz") as kept:
        inputs = HeadInputs(*(kept[name] for name in ("user_embedding", "event_state", "features", "counts")))
    names = feature_names_of_rows(bank.data, rows)
    whole = LabelledInputs(inputs, names, rows.labels, users)
    fold = folds(users.tolist(), 5, DATED.seed)
    scores = np.zeros(len(rows.at), np.float32)
    for number in range(5):
        fitted = fitting.fit_head(
            "calibrated", "probe", "user", "logistic", whole.rows(np.flatnonzero(fold != number)), 0
        )
        held_out = np.flatnonzero(fold == number)
        scores[held_out] = score(fitted, whole.rows(held_out), calibrate=False)
    expected = fit_calibrator(scores, rows.labels, users, DATED.seed)
    assert type(head.calibrator) is type(expected)
    assert msgspec.to_builtins(head.info["calibrator"]) == type(expected).__name__.lower()
    for name in vars(expected) if hasattr(expected, "__dict__") else expected.__slots__:
        np.testing.assert_allclose(getattr(head.calibrator, name), getattr(expected, name), rtol=1e-6)


def test_what_is_not_ready_for_a_final_fit_is_refused(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no head; run `pragmatiq finetune"):
        finetune_final(bank.run, bank.data, labels(bank), "absent")
    finetune(bank.run, bank.data, labels(bank), "unready", DATED)
    folder = head_folder(bank.run, "unready")
    head = (folder / "head.json").read_bytes()
    with pytest.raises(ConfigError, match=r"is not evaluated.*pragmatiq evaluate"):
        finetune_final(bank.run, bank.data, labels(bank), "unready")
    evaluate(bank.run, bank.data, labels(bank), "unready", **FEW)
    other = tmp_path / "other.parquet"
    pq.write_table(pq.read_table(labels(bank)).slice(1), other)
    with pytest.raises(ConfigError, match=r"other.parquet: is another file than user.parquet"):
        finetune_final(bank.run, bank.data, other, "unready")
    assert (folder / "head.json").read_bytes() == head
    finetune_final(bank.run, bank.data, labels(bank), "unready")
    with pytest.raises(ConfigError, match=r"is fitted to all \d+ rows already"):
        finetune_final(bank.run, bank.data, labels(bank), "unready")
    with pytest.raises(ConfigError, match=r"none is held out.*--test-from DATE"):
        evaluate(bank.run, bank.data, labels(bank), "unready", overwrite=True, **FEW)


def test_a_head_is_tested_on_all_rows_after_its_fit(bank: Bank, tmp_path: Path) -> None:
    ready(bank, "older")
    found = evaluate(bank.run, bank.data, labels(bank), "older", tmp_path, test_from=LATER, **FEW)
    rows = read_labels(labels(bank), bank.data)
    table = pq.read_table(rows_of(tmp_path / EVALUATION_FILE))
    assert sorted(table["eval_ts"].cast(pa.int64()).to_pylist()) == sorted(rows.at[rows.at >= moment(LATER)].tolist())
    assert found.protocol == f"all users, from {LATER} on, after all rows of the fit"
    assert set(found.metrics) == {"probe", "counts", "features"}
    assert found.provenance["test_from"] == LATER
    info = load_head(head_folder(bank.run, "older")).info
    assert msgspec.to_builtins(found.splits["train"]) == info["rows"]["train"]
    for date, words in (
        ("2024-01-01", r"fitted to rows up to 2024-01-0\d.*expected a later"),
        ("x", "expected a date"),
    ):
        with pytest.raises(ConfigError, match=words):
            evaluate(bank.run, bank.data, labels(bank), "older", tmp_path / "b", test_from=date, **FEW)
    with pytest.raises(ConfigError, match="folds are of all dates"):
        evaluate(bank.run, bank.data, labels(bank), "older", tmp_path, n_folds=2, test_from=LATER)


def test_later_labels_alone_have_no_baselines_and_say_so(bank: Bank, tmp_path: Path) -> None:
    ready(bank, "alone")
    table = pq.read_table(labels(bank))
    later = np.asarray(table["eval_ts"].cast(pa.int64())) >= moment(LATER)
    pq.write_table(table.filter(pa.array(later)), tmp_path / "later.parquet")
    found = evaluate(bank.run, bank.data, tmp_path / "later.parquet", "alone", tmp_path, test_from=LATER, **FEW)
    assert set(found.metrics) == {"probe"}
    assert any("There are no baselines" in caution for caution in found.cautions)
    whole = evaluate(bank.run, bank.data, labels(bank), "alone", tmp_path / "whole", test_from=LATER, **FEW)
    assert whole.metrics["probe"] == found.metrics["probe"]
    assert "There are no baselines" in json.dumps(msgspec.to_builtins(found))


def test_options_stand_above_the_config(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("split: {seed: 3, test_from: 2024-01-01}", encoding="utf-8")
    settings = finetune_settings(config, "hybrid", FROM, None, True)
    assert settings == FinetuneSettings(method="hybrid", split=SplitSettings(seed=3, test_from=FROM, unseen_users=True))
    with pytest.raises(ConfigError, match="unseen_users does nothing without test_from"):
        finetune_settings(None, None, None, None, True)
