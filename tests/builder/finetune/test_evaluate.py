"""An evaluation must rest on rows that no fit has seen, be the same each time, and never praise noise."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pragmatiq_builder.finetune import encoding, fitting
from pragmatiq_builder.finetune import evaluate as module
from pragmatiq_builder.finetune.classifiers import choose_classifier
from pragmatiq_builder.finetune.evaluate import evaluate
from pragmatiq_builder.finetune.finetune import INPUTS_FILE, finetune, head_folder
from pragmatiq_builder.finetune.fitting import BASELINES
from pragmatiq_builder.finetune.inputs import LabelledInputs
from pragmatiq_builder.finetune.labels import LabelledRows, read_labels
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.finetune.splits import SplitSettings
from pragmatiq_builder.heads import load_head, save_head
from pragmatiq_builder.heads.saved import EVALUATION_FILE
from pragmatiq_builder.metrics import Evaluation, measure, verdict_lines
from pragmatiq_builder.metrics.files import report_of
from pragmatiq_builder.network import PragmaNetwork
from pragmatiq_builder.progress import Silent
from pragmatiq_builder.raw.parts import table_hash
from pragmatiq_builder.runs import load_run, weights_hash
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError
from pragmatiq_triton.scorer import Scorer
from tests.builder.counting import Counting
from tests.builder.finetune.customers import (
    CONFIGS,
    Bank,
    exported_once,
    history,
    make_bank,
    make_data,
    write_labels,
)
from tests.builder.finetune.test_finetune import LORA, PROBE

FEW = {"replicates": 60}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """A bank whose run has the heads "churn" (users) and "fraud" (events)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "exported", exported_once)
        # Trying trees, too, takes most of the time.
        patch.setattr(fitting, "choose_classifier", lambda *_: "logistic")
        bank = make_bank(tmp_path_factory.mktemp("bank"))
        finetune(bank.run, bank.data, bank.labels["user"], "churn", PROBE)
        finetune(bank.run, bank.data, bank.labels["event"], "fraud", PROBE)
        yield bank


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[LabelledInputs]]:
    """The rows that baselines were fitted to and calibrated on, and those that were scored, as they go by."""
    seen: dict[str, list[LabelledInputs]] = {"fit_baseline": [], "calibrated": [], "score": []}

    def spy(name: str) -> None:
        original = getattr(module, name)

        def call(*arguments: Any, **options: Any) -> Any:
            seen[name].append(next(each for each in arguments if isinstance(each, LabelledInputs)))
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    for name in seen:
        spy(name)
    return seen


def with_rows(path: Path, file: Path, rows: dict[str, list[Any]]) -> Path:
    """The label file with some rows more."""
    table = pq.read_table(file)
    more = pa.table({name: pa.array(values, table.schema.field(name).type) for name, values in rows.items()})
    pq.write_table(pa.concat_tables([table, more]), path)
    return path


def relabelled(bank: Bank, path: Path, labels: Any) -> tuple[Path, LabelledRows]:
    rows = replace(read_labels(bank.labels["user"], bank.data), labels=np.asarray(labels, np.int8))
    return write_labels(path, bank.data, rows), rows


def users(rows: LabelledInputs) -> set[str]:
    return set(rows.users.tolist())


@pytest.mark.parametrize(("task", "kind"), [("churn", "user"), ("fraud", "event")])
def test_what_is_tested_was_held_out_from_every_fit(
    bank: Bank, fits: Any, tmp_path: Path, task: str, kind: Any
) -> None:
    result = evaluate(bank.run, bank.data, bank.labels[kind], task, tmp_path, **FEW)
    info = json.loads((head_folder(bank.run, task) / "head.json").read_text(encoding="utf-8"))["info"]
    tested = fits["score"][0]
    rows = read_labels(bank.labels[kind], bank.data)
    names = np.array(bank.data.user_ids, np.object_)[rows.users]
    is_test = np.isin(names, list(users(tested))) & (rows.at > info["cutoff_ts"])
    np.testing.assert_array_equal(tested.labels, rows.labels[is_test])
    assert len(fits["fit_baseline"]) == len(fits["calibrated"]) == len(BASELINES)
    for trained, calibrating in zip(fits["fit_baseline"], fits["calibrated"], strict=True):
        assert users(tested).isdisjoint(users(trained) | users(calibrating))
        assert users(trained).isdisjoint(users(calibrating))
        for name, part in (("train", trained), ("calibration", calibrating), ("test", tested)):
            assert msgspec.to_builtins(result.splits[name]) == info["rows"][name]
            assert (len(part.labels), part.labels.sum(), len(users(part))) == tuple(info["rows"][name].values())
    assert all(np.array_equal(each.users, tested.users) for each in fits["score"])
    assert (result.cut_off, result.protocol) == (info["cutoff"], "held-out users, later dates")


def test_the_numbers_are_those_of_the_saved_head(bank: Bank, fits: Any, tmp_path: Path) -> None:
    result = evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path, **FEW)
    head = load_head(head_folder(bank.run, "churn"))
    tested = fits["score"][0]
    logits = module.score(head, tested, calibrate=False).astype(np.float64)
    expected = measure(tested.labels, module.score(head, tested))
    assert result.metrics["probe"]["roc_auc"].value == pytest.approx(expected["roc_auc"])
    assert result.calibration.after["log_loss"] == pytest.approx(expected["log_loss"])
    before = measure(tested.labels, 1 / (1 + np.exp(-logits)))
    assert result.calibration.before["log_loss"] == pytest.approx(before["log_loss"], abs=1e-6)
    assert (result.candidate, result.method, result.calibration.method) == (
        "probe",
        "probe (logistic)",
        head.info["calibrator"],
    )
    assert set(result.metrics) == {"probe", *BASELINES}
    assert result.provenance["fitted_to_labels_sha256"] == result.provenance["labels_sha256"]


def test_twice_the_same_is_the_same_to_the_byte_and_goes_through_json(bank: Bank, tmp_path: Path) -> None:
    folder = head_folder(bank.run, "churn")
    result = evaluate(bank.run, bank.data, bank.labels["user"], "churn", **FEW)
    evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path / "new" / "folder", **FEW)
    (folder / INPUTS_FILE).unlink()
    evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path, **FEW)
    written = {(path / EVALUATION_FILE).read_bytes() for path in (folder, tmp_path / "new" / "folder", tmp_path)}
    assert len(written) == 1
    assert msgspec.json.decode(written.pop(), type=Evaluation) == result
    report = report_of(folder / EVALUATION_FILE).read_text(encoding="utf-8")
    assert "churn" in report
    assert f"{result.metrics['probe']['roc_auc'].value:.3f}" in report


def test_later_labels_leave_every_user_in_its_part(bank: Bank, fits: Any, tmp_path: Path) -> None:
    evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path, **FEW)
    before = {name: parts[0] for name, parts in fits.items()}
    for parts in fits.values():
        parts.clear()
    later = np.datetime64("2024-04-14", "us")
    rows = {
        "user_id": bank.data.user_ids,
        "eval_ts": [later] * bank.data.n_users,
        "label": [i % 2 for i in range(bank.data.n_users)],
    }
    file = with_rows(tmp_path / "later.parquet", bank.labels["user"], rows)
    with pytest.raises(ConfigError, match=r"another head, labels or own scores; --overwrite replaces it, --out"):
        evaluate(bank.run, bank.data, file, "churn", tmp_path, **FEW)
    result = evaluate(bank.run, bank.data, file, "churn", tmp_path, overwrite=True, **FEW)
    for name in ("fit_baseline", "calibrated"):
        np.testing.assert_array_equal(fits[name][0].users, before[name].users)
        np.testing.assert_array_equal(fits[name][0].inputs.counts, before[name].inputs.counts)
    assert len(fits["score"][0].labels) > len(before["score"].labels)
    assert users(fits["score"][0]) >= users(before["score"])
    assert users(fits["score"][0]).isdisjoint(users(before["fit_baseline"]) | users(before["calibrated"]))
    assert result.provenance["labels_sha256"] == table_hash(file)
    assert result.provenance["fitted_to_labels_sha256"] == table_hash(bank.labels["user"])


def test_folds_test_every_row_once_by_fits_without_its_user(bank: Bank, fits: Any, tmp_path: Path) -> None:
    result = evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path, n_folds=2, **FEW)
    per_fold = len(BASELINES) + 1
    tested = fits["score"][:: per_fold + 1]
    assert sorted(user for each in tested for user in each.users) == sorted(
        np.array(bank.data.user_ids)[read_labels(bank.labels["user"], bank.data).users]
    )
    for i, test in enumerate(tested):
        seen = fits["fit_baseline"][2 * i : 2 * i + 2] + fits["calibrated"][3 * i : 3 * i + 3]
        assert all(users(test).isdisjoint(users(each)) for each in seen)
        assert users(seen[0]).isdisjoint(users(seen[-1]))
    assert result.splits["test"] == result.splits["train"]
    assert result.cut_off is None
    assert result.protocol == "2-fold cross-validation by user, all dates"


def test_adapters_are_evaluated_as_they_were_fitted(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(bank.run, bank.data, bank.labels["user"], "lora", LORA)
    kept = head_folder(bank.run, "lora") / INPUTS_FILE
    # The merged network is that of the fit to the bit, or its inputs would have to be made again.
    monkeypatch.setattr(encoding, "exported", None)
    result = evaluate(bank.run, bank.data, bank.labels["user"], "lora", tmp_path, **FEW)
    assert (result.candidate, result.method) == ("lora", "lora (logistic)")
    networks = []

    def exported(network: PragmaNetwork) -> AbstractContextManager[Scorer]:
        networks.append(weights_hash(network))
        return exported_once(bank.run.network)

    monkeypatch.setattr(encoding, "exported", exported)
    before = kept.read_bytes()
    evaluate(bank.run, bank.data, bank.labels["user"], "lora", tmp_path, n_folds=2, **FEW)
    assert len(networks) == 2
    assert kept.read_bytes() == before


def test_noise_is_never_called_better(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "choose_classifier", choose_classifier)
    n_rows = len(read_labels(bank.labels["user"], bank.data).labels)
    file, _ = relabelled(bank, tmp_path / "noise.parquet", np.random.default_rng(0).random(n_rows) < 0.4)
    for method in ("probe", "hybrid"):
        settings = FinetuneSettings(method=method, classifier="logistic", split=SplitSettings(min_per_class=1))
        finetune(bank.run, bank.data, file, "noise", settings, overwrite=True)
        result = evaluate(bank.run, bank.data, file, "noise", tmp_path / method)
        verdicts = {found[metric].verdict for found in result.differences.values() for metric in ("roc_auc", "pr_auc")}
        assert "better" not in verdicts
        assert not [line for line in verdict_lines(result) if "better" in line]


def test_what_does_not_belong_together_is_named(bank: Bank, tmp_path: Path) -> None:
    run, data, labels = bank.run, bank.data, bank.labels
    with pytest.raises(ArtifactError, match=r"heads/spending: there is no head; run `pragmatiq finetune .*spending"):
        evaluate(run, data, labels["user"], "spending", tmp_path)
    with pytest.raises(DataError, match=r"event.parquet: holds labels per event, the head churn judges per user"):
        evaluate(run, data, labels["event"], "churn", tmp_path)
    with pytest.raises(ConfigError, match="1 folds: expected 2 or more"):
        evaluate(run, data, labels["user"], "churn", tmp_path, n_folds=1)
    with pytest.raises(DataError, match=f"{bank.data.n_users + 1} folds need as many users"):
        evaluate(run, data, labels["user"], "churn", tmp_path, n_folds=bank.data.n_users + 1)
    other = make_data(tmp_path / "other", [event for user in range(20) for event in history(user, 9)], CONFIGS["bpe"])
    with pytest.raises(ArtifactError, match="tokenize with --tokenizer-dir"):
        evaluate(run, other, labels["user"], "churn", tmp_path)
    changed = load_run(run.path)
    with torch.no_grad():
        changed.network.embed.embed.weight[0] += 1
    with pytest.raises(ArtifactError, match=r"churn: the head was fitted on other weights than .*nano holds"):
        evaluate(changed, data, labels["user"], "churn", tmp_path)
    assert not (tmp_path / EVALUATION_FILE).exists()


def test_a_head_that_does_not_say_how_it_was_fitted_is_named(bank: Bank, tmp_path: Path) -> None:
    head = finetune(bank.run, bank.data, bank.labels["user"], "silent", PROBE)
    for info in ({}, {**head.info, "settings": {"method": "magic"}}):
        save_head(replace(head, info=info), head_folder(bank.run, "silent"))
        with pytest.raises(ArtifactError, match=r"silent: head.json does not say how it was fitted .*fine-tune again"):
            evaluate(bank.run, bank.data, bank.labels["user"], "silent", tmp_path)


def test_a_test_part_without_positives_is_named(bank: Bank, fits: Any, tmp_path: Path) -> None:
    evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path / "first", **FEW)
    rows = read_labels(bank.labels["user"], bank.data)
    names = np.array(bank.data.user_ids, np.object_)[rows.users]
    labels = np.where(np.isin(names, list(users(fits["score"][0]))), 0, rows.labels)
    file, _ = relabelled(bank, tmp_path / "labels.parquet", labels)
    with pytest.raises(DataError, match="positive"):
        evaluate(bank.run, bank.data, file, "churn", tmp_path, **FEW)
    assert not (tmp_path / EVALUATION_FILE).exists()


def test_folds_stand_beside_the_held_out_part_and_repeats_are_said(bank: Bank, tmp_path: Path) -> None:
    held_out = evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path, **FEW)
    folded = evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path, n_folds=2, **FEW)
    names = ("evaluation", "evaluation-folds2")
    expected = {f"{name}.{kind}" for name in names for kind in ("html", "json", "parquet")}
    assert {path.name for path in tmp_path.iterdir()} == expected
    for name, result in zip(names, (held_out, folded), strict=True):
        assert msgspec.json.decode((tmp_path / f"{name}.json").read_bytes(), type=Evaluation) == result
    progress = Counting()
    evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path, progress=progress, **FEW)
    assert progress.lines == [
        f"{tmp_path / 'evaluation.json'} was there already, of the same head and labels, and was written again"
    ]


def test_a_file_that_is_no_evaluation_is_not_overwritten_in_silence(bank: Bank, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"evaluation\.json cannot be read as an evaluation; --overwrite"):
        evaluate(bank.run, bank.data, bank.labels["user"], "churn", tmp_path, **FEW)
    assert (tmp_path / "evaluation.json").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("task", "kind", "time"), [("churn", "user", "eval_ts"), ("fraud", "event", "ts")])
def test_the_tested_rows_are_written_and_ones_own_score_is_compared_on_them(
    bank: Bank, tmp_path: Path, task: str, kind: Any, time: str
) -> None:
    told: list[str] = []
    progress = Silent()
    progress.say = told.append  # type: ignore[method-assign]
    found = evaluate(bank.run, bank.data, bank.labels[kind], task, tmp_path / "a", rows_file=tmp_path / "rows", **FEW)
    assert (tmp_path / "a" / "evaluation.parquet").read_bytes() == (tmp_path / "rows").read_bytes()
    rows = pq.read_table(tmp_path / "rows")
    method = found.candidate
    assert rows.column_names == ["user_id", time, "label", method, *BASELINES]
    for model in (method, *BASELINES):
        values = measure(rows["label"].to_numpy(), rows[model].to_numpy())
        assert values["roc_auc"] == pytest.approx(found.metrics[model]["roc_auc"].value)

    # The head's own probabilities as the user's score, shuffled, and a row that is not tested: no difference at all.
    own = pa.table({name: rows[name] for name in ("user_id", time)} | {"score": rows[method]})
    order = np.random.default_rng(0).permutation(len(own))
    other = pa.table({"user_id": ["nobody"], time: own[time][:1], "score": pa.array([0.5], pa.float32())})
    pq.write_table(pa.concat_tables([own.take(order), other]), tmp_path / "own")
    own_scores = {"own_scores": tmp_path / "own"}
    same = evaluate(
        bank.run, bank.data, bank.labels[kind], task, tmp_path / "b", progress=progress, **own_scores, **FEW
    )
    difference = same.differences["own"]["roc_auc"]
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert difference.verdict == "not distinguishable"
    assert same.metrics[method] == found.metrics[method]
    assert any("1 rows are of no tested row" in line for line in told)
    assert same.provenance.keys() - found.provenance.keys() == {"own_scores_sha256"}

    # The truth as a score is better than anything.
    truth = own.set_column(2, "score", rows["label"].cast(pa.float32()))
    pq.write_table(truth, tmp_path / "own")
    beaten = evaluate(bank.run, bank.data, bank.labels[kind], task, tmp_path / "c", own_scores=tmp_path / "own", **FEW)
    assert beaten.metrics["own"]["roc_auc"].value == 1
    assert beaten.differences["own"]["roc_auc"].value < 0

    def refused(table: pa.Table, words: str) -> None:
        pq.write_table(table, tmp_path / "own")
        with pytest.raises(DataError, match=words):
            evaluate(bank.run, bank.data, bank.labels[kind], task, tmp_path / "d", own_scores=tmp_path / "own", **FEW)

    refused(own[1:], r"1 of \d+ tested rows have no score, the first one user_id")
    refused(own.set_column(2, "score", pa.array([640.0] * len(own))), "expected a probability from 0 to 1")
    refused(own.drop_columns("score"), "expected one parquet file with user_id")
    twice = own[:1].set_column(2, "score", pa.array([0.123], pa.float32()))
    refused(pa.concat_tables([own, twice]), "two scores at one moment")
    refused(own.rename_columns(["user_id", {"ts": "eval_ts", "eval_ts": "ts"}[time], "score"]), "labels' moments")
    with pytest.raises(ConfigError, match="exists already"):
        evaluate(bank.run, bank.data, bank.labels[kind], task, tmp_path / "e", rows_file=tmp_path / "rows", **FEW)
