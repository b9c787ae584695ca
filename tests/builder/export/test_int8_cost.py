"""What int8 costs must be measured on users that it was not calibrated with, and be what served scores show."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.export import int8_cost as module
from pragmatiq_builder.export.int8_cost import Int8Quantizer
from pragmatiq_builder.export.manifest import Manifest, altered_files, read_manifest
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.finetune import encoding, fitting
from pragmatiq_builder.finetune.finetune import finetune, head_folder
from pragmatiq_builder.finetune.inputs import HeadInputs
from pragmatiq_builder.finetune.labels import read_labels
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.finetune.splits import SplitSettings, held_out
from pragmatiq_builder.heads import load_head, save_head
from pragmatiq_builder.metrics import measure
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.tokenizer import Tokenizer
from tests.builder.finetune.customers import (
    CONFIGS,
    N_EVENTS,
    N_USERS,
    Bank,
    Event,
    exported_once,
    history,
    make_bank,
    make_data,
    make_run,
)
from tests.builder.finetune.test_finetune import LORA, PROBE

OTHER_USERS = FinetuneSettings(classifier="logistic", split=SplitSettings(seed=5))
TASKS = {"churn": "user", "fraud": "event", "loan": "user"}


@dataclass(frozen=True)
class Exported:
    """A bank whose run has three tasks, exported in both precisions; what the quantizer read on the way."""

    bank: Bank
    fp32: Path
    int8: Path
    manifest: Manifest
    calibrating: list[set[str]]
    measuring: list[set[str]]

    @property
    def labels(self) -> dict[str, Path]:
        return {task: self.bank.labels[kind] for task, kind in TASKS.items()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "exported", exported_once)
        # Trying trees, too, takes most of the time.
        patch.setattr(fitting, "choose_classifier", lambda *_: "logistic")
        bank = make_bank(folder)
        finetune(bank.run, bank.data, bank.labels["user"], "churn", PROBE)
        finetune(bank.run, bank.data, bank.labels["event"], "fraud", OTHER_USERS)
        finetune(bank.run, bank.data, bank.labels["user"], "loan", LORA)
        export_repository(bank.run, folder / "fp32")
        seen: dict[str, list[set[str]]] = {"quantize_event_encoder": [], "head_inputs": []}
        spy_on_users(patch, bank, seen)
        labels = {task: bank.labels[kind] for task, kind in TASKS.items()}
        quantizer = Int8Quantizer(bank.run, bank.data, labels)
        manifest = export_repository(bank.run, folder / "int8", quantizer=quantizer)
        yield Exported(bank, folder / "fp32", folder / "int8", manifest, *seen.values())


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return [event for user in range(N_USERS) for event in history(user, N_EVENTS)]


def spy_on_users(patch: pytest.MonkeyPatch, bank: Bank, seen: dict[str, list[set[str]]]) -> None:
    """Note the users of every calibration and of every measurement of a task."""
    quantize, read, users = module.quantize_event_encoder, module.head_inputs, Int8Quantizer._users
    now: set[str] = set()

    def drawing(self: Int8Quantizer, numbers: np.ndarray, most: int) -> Any:
        now.clear()
        now.update(bank.data.user_ids[number] for number in numbers)
        return users(self, numbers, most)

    def quantizing(*arguments: Any, **options: Any) -> None:
        seen["quantize_event_encoder"].append(set(now))
        quantize(*arguments, **options)

    def reading(data: Any, rows: Any, *arguments: Any, **options: Any) -> HeadInputs:
        seen["head_inputs"].append({data.user_ids[user] for user in rows.users})
        return read(data, rows, *arguments, **options)

    patch.setattr(Int8Quantizer, "_users", drawing)
    patch.setattr(module, "quantize_event_encoder", quantizing)
    patch.setattr(module, "head_inputs", reading)


def held_out_users(ids: list[str], settings: FinetuneSettings) -> set[str]:
    return {ids[i] for i in np.flatnonzero(held_out(ids, settings.split))}


def test_no_user_that_a_task_tests_on_calibrates(exported: Exported) -> None:
    ids = exported.bank.data.user_ids
    tests = held_out_users(ids, PROBE) | held_out_users(ids, OTHER_USERS)
    assert tests > held_out_users(ids, PROBE)
    assert len(exported.calibrating) == 2
    assert all(users == set(ids) - tests for users in exported.calibrating)
    assert exported.measuring
    assert all(users <= tests for users in exported.measuring)


def test_the_manifest_says_how_it_was_calibrated_and_measured(exported: Exported) -> None:
    assert exported.manifest == read_manifest(exported.int8)
    assert altered_files(exported.int8) == []
    assert exported.manifest.precision == "int8"
    costs = exported.manifest.quantization
    assert {model: list(cost.tasks) for model, cost in costs.items()} == exported.manifest.tasks
    (users,) = {len(users) for users in exported.calibrating}
    plain, adapted = costs["scoring"], costs["scoring_loan"]
    assert plain.calibration_users == adapted.calibration_users == users
    assert plain.calibration_events == users * N_EVENTS
    assert adapted.calibration_events == users * LORA.lora.max_events
    assert plain.held_out_users == exported.bank.data.n_users - users


def test_embeddings_hardly_turn_but_do(exported: Exported) -> None:
    for cost in exported.manifest.quantization.values():
        cosine = cost.embedding_cosine
        assert 0.99 < cosine.min <= cosine.first_percentile <= cosine.median < 1
        assert cosine.min <= cosine.mean < 1


@pytest.mark.parametrize("task", TASKS)
def test_a_task_s_cost_is_that_of_its_test_rows(exported: Exported, task: str) -> None:
    bank, folder = exported.bank, head_folder(exported.bank.run, task)
    head, rows = load_head(folder), read_labels(exported.labels[task], exported.bank.data)
    model = next(entry.model for entry in exported.manifest.heads if entry.task == task)
    cost = exported.manifest.quantization[model].tasks[task]
    assert {"rows": cost.rows, "positives": cost.positives} == {
        name: head.info["rows"]["test"][name] for name in ("rows", "positives")
    }
    settings, cutoff = OTHER_USERS if task == "fraud" else PROBE, head.info["cutoff_ts"]
    test = held_out([bank.data.user_ids[user] for user in rows.users], settings.split)
    test &= rows.at > (-1 if cutoff is None else cutoff)
    rows = rows.take(test)
    scores = []
    for repository in (exported.fp32, exported.int8):
        scorer = Scorer(repository / model.replace("scoring", "scorer") / "1")
        inputs = module.head_inputs(bank.data, rows, scorer, max_events=head.info.get("max_events"))
        names = Tokenizer(bank.data.vocabulary, "wide").features.names
        labelled = SimpleNamespace(inputs=inputs, feature_names=names)
        scores.append(fitting.score(head, labelled))
    fp32, int8 = scores
    assert cost.max_score_change == pytest.approx(np.abs(fp32 - int8).max(), abs=1e-6)
    assert 0 < cost.max_score_change < 0.1
    for name in ("roc_auc", "pr_auc"):
        change = getattr(cost, name)
        assert change.fp32 == pytest.approx(measure(rows.labels, fp32)[name])
        assert change.int8 == pytest.approx(measure(rows.labels, int8)[name])


def test_only_the_event_encoders_differ_from_float32(exported: Exported) -> None:
    fp32, int8 = read_manifest(exported.fp32), exported.manifest
    assert (fp32.precision, fp32.quantization) == ("fp32", None)
    assert fp32.files.keys() == int8.files.keys()
    # A scorer's config names what its kept event vectors depend on.
    parts = ("1/event_encoder.onnx", "1/event_encoder.onnx.data", "config.pbtxt")
    expected = {f"{scorer}/{part}" for scorer in ("scorer", "scorer_loan") for part in parts}
    assert {name for name in fp32.files if fp32.files[name] != int8.files[name]} == {*expected, "MODEL_CARD.md"}
    card = (exported.int8 / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## Precision" in card
    assert f"{int8.quantization['scoring_loan'].tasks['loan'].max_score_change:.5f} |" in card


def test_a_run_without_tasks_is_measured_by_its_embeddings(
    events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path, events, CONFIGS["embed"])
    run = make_run(tmp_path / "runs" / "embed", data)
    monkeypatch.setattr(module, "CALIBRATION_USERS", 7)
    monkeypatch.setattr(module, "CALIBRATION_EVENTS", 5)
    monkeypatch.setattr(module, "MEASURED_USERS", 3)
    found = [
        export_repository(run, tmp_path / name, quantizer=Int8Quantizer(run, data, {})) for name in ("one", "other")
    ]
    assert found[0] == found[1]
    cost = found[0].quantization["scoring"]
    assert (cost.calibration_users, cost.calibration_events, cost.held_out_users, cost.tasks) == (7, 35, 3, {})
    assert 0.99 < cost.embedding_cosine.min < 1


def refused(exported: Exported, labels: dict[str, Path], error: type[Exception], match: str, **instead: Any) -> None:
    arguments = {"run": exported.bank.run, "data": exported.bank.data} | instead
    with pytest.raises(error, match=match):
        Int8Quantizer(label_files=labels, **arguments)


def test_tasks_and_labels_have_to_match(exported: Exported) -> None:
    labels = exported.labels
    refused(exported, {}, ConfigError, "int8 costs churn, fraud, loan would be unknown.*--label TASK=PARQUET")
    refused(exported, labels | {"chrun": labels["churn"]}, ConfigError, "chrun: .* its tasks: churn, fraud, loan")
    refused(
        exported, labels | {"fraud": labels["churn"]}, DataError, "labels per user, the head fraud judges per event"
    )


def test_a_data_set_of_another_tokenizer_is_refused(exported: Exported, events: list[Event], tmp_path: Path) -> None:
    other = make_data(tmp_path, events[:200], CONFIGS["bpe"])
    refused(exported, exported.labels, ArtifactError, "tokenize with --tokenizer-dir", data=other)


def test_a_test_part_of_one_class_measures_nothing(exported: Exported, tmp_path: Path) -> None:
    table = pq.read_table(exported.labels["churn"])
    ids = table["user_id"].to_pylist()
    label = np.where(held_out(ids, SplitSettings()), 0, table["label"])
    file = tmp_path / "labels.parquet"
    pq.write_table(table.set_column(table.column_names.index("label"), "label", pa.array(label, pa.int8())), file)
    match = "test churn, 0 of them positive, expected both classes"
    refused(exported, exported.labels | {"churn": file}, DataError, match)


def test_there_must_be_users_to_calibrate(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "held_out", lambda ids, split: np.ones(len(ids), np.bool_))
    refused(exported, exported.labels, DataError, "of its 60 users none is left to calibrate")


def test_a_head_that_does_not_say_how_it_was_fitted_is_named(
    exported: Exported,
) -> None:
    folder = head_folder(exported.bank.run, "churn")
    head = load_head(folder)
    try:
        save_head(replace(head, info={}), folder)
        refused(exported, exported.labels, ArtifactError, "churn: head.json does not say how it was fitted")
    finally:
        save_head(head, folder)


def test_the_manifest_is_json_that_anyone_reads(exported: Exported) -> None:
    content = json.loads((exported.int8 / "manifest.json").read_text(encoding="utf-8"))
    assert content["format"] == 3
    assert content["quantization"]["scoring"]["tasks"]["churn"].keys() == {
        *("rows", "positives", "roc_auc", "pr_auc", "max_score_change")
    }
