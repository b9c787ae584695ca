"""A run that begins with an older one's weights: they are taken over whole, nothing else is, and it says so."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pragmatiq_builder.export.manifest import read_manifest
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.info import describe
from pragmatiq_builder.runs import load_run, weights_hash
from pragmatiq_builder.training import PretrainSettings, pretrain
from pragmatiq_triton.errors import ArtifactError, ConfigError
from tests.builder.training.memory_dataset import MemoryDataset
from tests.builder.training.test_pretrain import SETTINGS, SignalAt, StopAt, metrics, settings
from tests.conftest import UPSTREAM

STILL = {"lr_muon": 1e-30, "lr_adamw": 1e-30, "weight_decay": 0, "dropout": 0, "precision": "32-true"}
"""Rates at which no float32 weight moves."""


@pytest.fixture
def may(data: MemoryDataset, tmp_path: Path) -> Path:
    return pretrain(data, settings(max_steps=20), tmp_path, "may")


@pytest.fixture
def june_data(tokenizer: tuple[Path, str]) -> MemoryDataset:
    """Other customers, tokenized with the same tokenizer."""
    return MemoryDataset(*tokenizer, n_users=60, seed=1)


def test_the_network_and_its_head_begin_as_the_older_run_ended(may: Path, june_data: MemoryDataset) -> None:
    june = load_run(pretrain(june_data, settings(**STILL), may.parent, "june", init_from=may))
    older = load_run(may)
    for part in ("network", "head"):
        theirs = getattr(older, part).state_dict()
        for name, tensor in getattr(june, part).state_dict().items():
            assert torch.equal(tensor, theirs[name]), name


def test_optimizer_and_schedule_are_new_and_the_older_weights_are_measured(may: Path, june_data: MemoryDataset) -> None:
    told = SignalAt(100, 0)
    june = pretrain(june_data, settings(), may.parent, "june", progress=told, init_from=may)
    drawn = pretrain(june_data, settings(), may.parent, "drawn")
    assert [record["step"] for record in metrics(june)] == [0, 1, 2, 3, 4, 5, 6, 6]
    rates = [[record["lr"] for record in metrics(run) if "lr" in record] for run in (june, drawn)]
    assert rates[0] == rates[1]
    first = metrics(june)[0]
    assert set(first) == {"step", "val_loss", "val_ce", "val_mse", "val_masked_accuracy"}
    assert metrics(june)[1]["loss"] < metrics(drawn)[0]["loss"]
    (line,) = told.lines
    assert "begins with the weights of may (" in line
    assert "2 steps of warm-up, then a cosine to 0 at step 6" in line
    assert "held out here, so val_* flatters" in line


def test_the_lineage_is_recorded_and_told(may: Path, june_data: MemoryDataset) -> None:
    june = pretrain(june_data, settings(max_steps=1), may.parent, "june", init_from=may)
    july = pretrain(june_data, settings(max_steps=1), may.parent, "july", init_from=june)
    hashes = [weights_hash(load_run(run).network) for run in (june, may)]
    assert json.loads((july / "meta.json").read_text(encoding="utf-8"))["init_from"] == {
        "run": "june",
        "origin": "pragmatiq-triton",
        "weights_hash": hashes[0],
        "init_from": {"run": "may", "origin": "pragmatiq-triton", "weights_hash": hashes[1], "init_from": None},
    }
    words = f"june ({hashes[0][:12]}), which began with may ({hashes[1][:12]})"
    assert describe(july)[1]["init_from"] == words
    assert "init_from" not in describe(may)[1]


@pytest.mark.slow
def test_a_repository_names_the_run_that_its_run_began_with(tmp_path: Path) -> None:
    run = Path(shutil.copytree(UPSTREAM / "bpe" / "run", tmp_path / "run"))
    began = {"run": "may|x", "origin": "pragmatiq-triton", "weights_hash": "ab" * 32}
    meta = json.loads((run / "meta.json").read_text(encoding="utf-8"))
    (run / "meta.json").write_text(json.dumps({**meta, "init_from": began}), encoding="utf-8")
    export_repository(load_run(run), tmp_path / "repository")
    assert read_manifest(tmp_path / "repository").init_from == {**began, "init_from": None}
    card = (tmp_path / "repository" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| began with the weights of | may\\|x (abababababab) |" in card


def test_another_tokenizer_or_shape_is_one_line_that_says_what_to_do(may: Path, june_data: MemoryDataset) -> None:
    for changes, words in (
        ({"model_size": "small"}, r"dim 64 there, 192 here, .*choose its size: --model-size nano"),
        ({}, r"vocab_size 34 there, 35 here"),
    ):
        june_data.vocab_size = 34 if changes else 35
        with pytest.raises(ConfigError, match=words) as error:
            pretrain(june_data, settings(**changes), may.parent, "june", init_from=may)
        assert "\n" not in str(error.value)
    june_data.tokenizer_hash = "0123"
    with pytest.raises(ConfigError, match=r"is 0123, so the same numbers .* --tokenizer-dir \S+/may/tokenizer"):
        pretrain(june_data, settings(), may.parent, "june", init_from=may)
    assert not (may.parent / "june").exists()


def test_text_vectors_need_a_text_branch(may: Path, text_data: MemoryDataset) -> None:
    with pytest.raises(ConfigError, match="text_dim 0 there, 16 here; tokenize the data with the run's tokenizer"):
        pretrain(text_data, settings(), may.parent, "june", init_from=may)


def test_dropout_is_no_shape(may: Path, june_data: MemoryDataset) -> None:
    june = pretrain(june_data, settings(dropout=0.3), may.parent, "june", init_from=may)
    assert load_run(june).network.config.dropout == 0.3


@pytest.mark.parametrize("stop_at", [2, 5])
def test_a_resumed_one_is_the_uninterrupted_one(may: Path, june_data: MemoryDataset, stop_at: int) -> None:
    """Before the first checkpoint the older weights are read again; after it they are not needed."""
    whole = pretrain(june_data, settings(), may.parent, "whole", init_from=may)
    with pytest.raises(KeyboardInterrupt):
        pretrain(june_data, settings(), may.parent, "halves", progress=StopAt(stop_at), init_from=may)
    again = may if stop_at == 2 else None
    halves = pretrain(june_data, settings(), may.parent, "halves", "auto", init_from=again)
    assert metrics(halves) == metrics(whole)
    assert weights_hash(load_run(halves).network) == weights_hash(load_run(whole).network)


def test_resuming_with_another_beginning_is_refused(may: Path, data: MemoryDataset) -> None:
    other = pretrain(data, settings(seed=1), may.parent, "other")
    june = pretrain(data, settings(), may.parent, "june", init_from=may)
    for run, init_from, words in (
        (june, other, r"init_from was may \(\w{64}\), is now other"),
        (other, may, r"init_from was none, is now may"),
    ):
        with pytest.raises(ArtifactError, match=words):
            pretrain(data, PretrainSettings(**SETTINGS), may.parent, run.name, "auto", init_from=init_from)


def test_without_a_checkpoint_the_beginning_has_to_be_given_again(may: Path, data: MemoryDataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        pretrain(data, settings(), may.parent, "june", progress=StopAt(1), init_from=may)
    with pytest.raises(ArtifactError, match=r"init_from was may .*, is now none; give the same again"):
        pretrain(data, settings(), may.parent, "june", "auto")
