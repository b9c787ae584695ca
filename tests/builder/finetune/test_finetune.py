"""Fine-tuning end to end: what is written, what is refused, and that a failure leaves everything as it was."""

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.finetune import encoding
from pragmatiq_builder.finetune import finetune as module
from pragmatiq_builder.finetune.encoding import users_of
from pragmatiq_builder.finetune.finetune import INPUTS_FILE, finetune, head_folder
from pragmatiq_builder.finetune.labels import LabelledRows, read_labels
from pragmatiq_builder.finetune.lora import LoraSettings
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.finetune.splits import SplitSettings, split_at, split_rows
from pragmatiq_builder.heads import Head, load_head
from pragmatiq_builder.heads.lora import load_adapters, merged
from pragmatiq_builder.heads.saved import saved_heads
from pragmatiq_builder.runs import weights_hash
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError, OutputError
from tests.builder.counting import Counting
from tests.builder.finetune.customers import (
    CONFIGS,
    Bank,
    Event,
    alone,
    exported_once,
    make_bank,
    make_data,
    with_amounts,
)

PROBE = FinetuneSettings(classifier="logistic")
LORA = FinetuneSettings(
    method="lora",
    lora=LoraSettings(
        rank=2, max_events=6, max_epochs=2, token_budget=600, lr=0.01, precision="32-true", accelerator="cpu"
    ),
)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "exported", exported_once)
        yield make_bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="module")
def probe(bank: Bank) -> Head:
    return finetune(bank.run, bank.data, bank.labels["user"], "probe", PROBE)


@pytest.fixture(scope="module")
def lora(bank: Bank) -> Head:
    return finetune(bank.run, bank.data, bank.labels["user"], "lora", LORA)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def relabelled(bank: Bank, path: Path, labels: Any, extra: dict[str, list[Any]] | None = None) -> Path:
    """The bank's user labels with others, and some rows more."""
    table = pq.read_table(bank.labels["user"])
    columns = {**table.to_pydict(), "label": [float(label) for label in labels]}
    for name, values in (extra or {}).items():
        columns[name] = [*columns[name], *values]
    types = {"eval_ts": table.schema.field("eval_ts").type}
    pq.write_table(pa.table({name: pa.array(column, types.get(name)) for name, column in columns.items()}), path)
    return path


def test_the_files_of_a_head_are_there_and_read_back_the_same(bank: Bank, probe: Head, lora: Head) -> None:
    folders = {head.task: head_folder(bank.run, head.task) for head in (probe, lora)}
    assert set(files_of(folders["probe"])) == {"head.json", "head.npz", INPUTS_FILE}
    assert set(files_of(folders["lora"])) == {"head.json", "head.npz", INPUTS_FILE, "lora.safetensors"}
    for head in (probe, lora):
        loaded = load_head(folders[head.task])
        assert loaded.info == head.info
        np.testing.assert_array_equal(loaded.classifier.weights, head.classifier.weights)
        assert type(loaded.calibrator) is type(head.calibrator)
    assert {saved.head.task for saved in saved_heads(bank.run.path)} >= {"probe", "lora"}


def test_a_head_says_what_it_was_fitted_to(bank: Bank, probe: Head, lora: Head) -> None:
    info = probe.info
    rows = read_labels(bank.labels["user"], bank.data)
    users = users_of(bank.data, rows)
    split = split_rows(users.tolist(), rows, PROBE.split)
    assert split.cutoff is not None
    assert info["rows"] == {
        name: {"rows": len(part), "positives": rows.labels[part].sum(), "users": len(set(users[part]))}
        for name, part in split.parts.items()
    }
    assert info["cutoff_ts"] == split.cutoff
    assert datetime.fromisoformat(info["cutoff"]).timestamp() * 1e6 == pytest.approx(split.cutoff)
    assert (info["left_out"], info["skipped"]) == (split.left_out, {})
    assert info["label_file"] == "user.parquet"
    assert info["labels_sha256"] == hashlib.sha256(bank.labels["user"].read_bytes()).hexdigest()
    assert info["tokenizer_hash"] == bank.data.tokenizer_hash
    assert info["weights_hash"] == lora.info["weights_hash"] == weights_hash(bank.run.network)
    assert (info["classifier"], info["calibrator"]) == ("logistic", type(probe.calibrator).__name__.lower())
    for head, settings in ((probe, PROBE), (lora, LORA)):
        assert msgspec.convert(head.info["settings"], FinetuneSettings) == settings
    assert lora.info["max_events"] == 6
    assert [entry["epoch"] for entry in lora.info["history"]] == [0, 0, 1]
    assert not {"max_events", "history"} & info.keys()


def test_a_judgement_of_events_reads_the_event(bank: Bank) -> None:
    head = finetune(bank.run, bank.data, bank.labels["event"], "fraud", PROBE)
    assert (head.kind, head.inputs) == ("event", ("user_embedding", "event_state"))


def test_a_lora_heads_probabilities_come_from_the_merged_network(bank: Bank, lora: Head) -> None:
    rows = read_labels(bank.labels["user"], bank.data)
    folder, base = head_folder(bank.run, "lora"), bank.run.network
    network = merged(base, load_adapters(folder / "lora.safetensors", weights_hash(base)))
    with np.load(folder / INPUTS_FILE) as kept:
        states = kept["user_embedding"]
    for i in range(0, len(rows.at), 40):
        np.testing.assert_allclose(states[i], alone(network, bank.data, rows, i, 6).numpy(), rtol=0, atol=1e-5)
        assert not np.allclose(states[i], alone(base, bank.data, rows, i, 6).numpy(), atol=1e-3)


def test_a_second_head_of_a_task_is_refused_or_replaces_the_first_as_a_whole_and_says_so(bank: Bank) -> None:
    finetune(bank.run, bank.data, bank.labels["user"], "again", LORA)
    folder = head_folder(bank.run, "again")
    (folder / "evaluation.json").write_text("{}", encoding="utf-8")
    before = files_of(folder)
    described = f"the head of again (lora, fitted to {bank.labels['user'].name}) with evaluation.json"
    with pytest.raises(ConfigError) as refused:
        finetune(bank.run, bank.data, bank.labels["user"], "again", PROBE)
    assert str(refused.value) == f"{folder}: {described}; --overwrite replaces it, another --task keeps both"
    assert files_of(folder) == before
    progress = Counting()
    finetune(bank.run, bank.data, bank.labels["user"], "again", PROBE, progress, overwrite=True)
    assert progress.lines == [f"replaced: {described}"]
    assert set(files_of(folder)) == {"head.json", "head.npz", INPUTS_FILE}
    assert load_head(folder).method == "probe"
    assert not [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_a_task_that_another_process_fits_is_refused(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, refused = module.fit_task, []

    def fits(*arguments: Any, **given: Any) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(module, "fit_task", fit)
            with pytest.raises(OutputError, match=rf"process {os.getpid()} is writing this head"):
                finetune(bank.run, bank.data, bank.labels["user"], "twice", PROBE)
            refused.append(True)
            # Other tasks of the run may be fitted meanwhile.
            finetune(bank.run, bank.data, bank.labels["user"], "beside", PROBE)
        return fit(*arguments, **given)

    monkeypatch.setattr(module, "fit_task", fits)
    finetune(bank.run, bank.data, bank.labels["user"], "twice", PROBE)
    assert refused == [True]
    assert {"twice", "beside"} <= {saved.head.task for saved in saved_heads(bank.run.path)}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("step", ["fit_task", "calibrated", "save_head"])
def test_a_failure_half_way_leaves_the_older_head_and_nothing_else(
    bank: Bank, probe: Head, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    done = getattr(module, step)

    def fails(*arguments: Any, **given: Any) -> None:
        done(*arguments, **given)
        raise error(step)

    monkeypatch.setattr(module, step, fails)
    before = files_of(bank.run.path)
    for task in ("probe", "another"):
        with pytest.raises(error, match=step):
            finetune(bank.run, bank.data, bank.labels["user"], task, PROBE, overwrite=True)
    assert files_of(bank.run.path) == before
    assert not head_folder(bank.run, "another").exists()


def test_data_of_another_tokenizer_and_impossible_names_are_refused(
    bank: Bank, events: list[Event], tmp_path: Path
) -> None:
    other = make_data(tmp_path, with_amounts(events), CONFIGS["bpe"])
    with pytest.raises(ArtifactError, match=r"--tokenizer-dir .*nano"):
        finetune(bank.run, other, bank.labels["user"], "refused", PROBE)
    with pytest.raises(ConfigError, match=r"\.\./up"):
        finetune(bank.run, bank.data, bank.labels["user"], "../up", PROBE)
    assert not head_folder(bank.run, "refused").exists()


def test_labels_that_cannot_be_used_are_counted(bank: Bank, tmp_path: Path) -> None:
    table = pq.read_table(bank.labels["user"]).to_pydict()
    labels = [float("nan"), *table["label"][1:]]
    extra = {
        "user_id": ["stranger", table["user_id"][3], table["user_id"][3]],
        "eval_ts": [table["eval_ts"][0], table["eval_ts"][3], datetime(2020, 1, 1)],
        "label": [1.0, float(table["label"][3]), 0.0],
    }
    file = relabelled(bank, tmp_path / "labels.parquet", labels, extra)
    info = finetune(bank.run, bank.data, file, "counted", PROBE).info
    assert info["skipped"] == {
        "label missing": 1,
        "user unknown": 1,
        "duplicate": 1,
        "no history before eval_ts": 1,
    }
    assert sum(part["rows"] for part in info["rows"].values()) + info["left_out"] == len(table["label"]) - 1


def rows_and_parts(bank: Bank) -> tuple[LabelledRows, dict[str, Any]]:
    rows = read_labels(bank.labels["user"], bank.data)
    return rows, split_at(users_of(bank.data, rows).tolist(), rows, SplitSettings(), None).parts


@pytest.mark.parametrize("part", ["train", "calibration", "test"])
def test_a_part_without_positives_is_named(bank: Bank, tmp_path: Path, part: str) -> None:
    rows, parts = rows_and_parts(bank)
    labels = rows.labels.copy()
    labels[parts[part]] = 0
    file = relabelled(bank, tmp_path / "labels.parquet", labels)
    with pytest.raises(DataError, match=rf"the {part} part has {len(parts[part])} of {len(labels)} labelled rows, 0 "):
        finetune(bank.run, bank.data, file, "refused", PROBE)
    assert not head_folder(bank.run, "refused").exists()


def test_labels_that_cannot_be_learnt_from_are_refused(bank: Bank, tmp_path: Path) -> None:
    rows, _ = rows_and_parts(bank)
    path = tmp_path / "labels.parquet"
    with pytest.raises(DataError, match=r"expected rows of both classes, .*all labelled 1"):
        finetune(bank.run, bank.data, relabelled(bank, path, np.ones(len(rows.labels))), "refused", PROBE)
    with pytest.raises(DataError, match=r"row 0: label is neither 0 nor 1; .*label 2\.0"):
        finetune(bank.run, bank.data, relabelled(bank, path, rows.labels + 2.0), "refused", PROBE)
    pq.write_table(pq.read_table(bank.labels["user"]).drop_columns("eval_ts"), path)
    with pytest.raises(DataError, match="either eval_ts"):
        finetune(bank.run, bank.data, path, "refused", PROBE)
    assert not head_folder(bank.run, "refused").exists()
