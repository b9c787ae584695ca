import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pragmatiq_builder.info import describe
from pragmatiq_builder.progress import Silent
from pragmatiq_builder.runs import create_run, load_run, load_trainer, weights_hash
from pragmatiq_builder.training import PretrainSettings, pretrain
from pragmatiq_builder.training.trainer import Trainer
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError, OutputError, PragmatiqError
from tests.builder.training.memory_dataset import MemoryDataset
from tests.conftest import UPSTREAM
from tests.mounts import tmpfs

SETTINGS = {
    "model_size": "nano",
    "max_steps": 6,
    "token_budget": 100,
    "warmup_steps": 2,
    "log_every": 1,
    "checkpoint_every": 3,
    "accelerator": "cpu",
    "held_out": 0.1,
}


def settings(**changes: Any) -> PretrainSettings:
    return PretrainSettings(**{**SETTINGS, **changes})


def metrics(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for record in records:
        record.pop("tokens_per_second", None)
    return records


class StopAt(Silent):
    """A user's Ctrl-C after some steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def advance(self, steps: int, note: str = "") -> None:
        self.left -= steps
        if self.left == 0:
            raise KeyboardInterrupt


class SignalAt(Silent):
    """A signal that comes while some step is under way, and again and again."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        self.left, self.number = step, number
        self.lines: list[str] = []

    def advance(self, steps: int, note: str = "") -> None:
        self.left -= steps
        if self.left <= 1:
            signal.raise_signal(self.number)

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize("stop_at", [2, 3, 5])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_ctrl_c_saves_a_checkpoint_from_which_the_run_is_the_uninterrupted_one(
    text_data: MemoryDataset, tmp_path: Path, stop_at: int, accumulate: int
) -> None:
    chosen = settings(accumulate=accumulate, log_every=2, checkpoint_every=100)
    whole = pretrain(text_data, chosen, tmp_path, "whole")
    stopped = SignalAt(stop_at, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pretrain(text_data, chosen, tmp_path, "halves", progress=stopped)
    assert stopped.lines == [
        f"{tmp_path / 'halves'}: stopped by SIGINT after step {stop_at - 1} of 6, in a checkpoint; the same command "
        "with --resume auto goes on from there"
    ]
    assert load_trainer(tmp_path / "halves")["step"] == stop_at - 1
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    halves = pretrain(text_data, chosen, tmp_path, "halves", resume="auto")
    assert metrics(halves) == metrics(whole)
    theirs = load_run(whole).network.state_dict()
    for name, tensor in load_run(halves).network.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def test_sigterm_saves_a_checkpoint_and_ends_as_it_would_have(data: MemoryDataset, tmp_path: Path) -> None:
    ended = []
    earlier = signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            pretrain(data, settings(checkpoint_every=100), tmp_path, "run", progress=SignalAt(3, signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert ended == [signal.SIGTERM]
    assert load_trainer(tmp_path / "run")["step"] == 2


def test_ctrl_c_at_the_last_step_is_too_late(data: MemoryDataset, tmp_path: Path) -> None:
    assert load_run(pretrain(data, settings(), tmp_path, "run", progress=SignalAt(7, signal.SIGINT))).name == "run"


def test_a_run_that_another_process_trains_is_refused_by_that_process(data: MemoryDataset, tmp_path: Path) -> None:
    refused = []

    class Second(Silent):
        def advance(self, steps: int, note: str = "") -> None:
            if not refused:
                with pytest.raises(OutputError) as error:
                    pretrain(data, settings(), tmp_path, "run", resume="auto")
                refused.append(str(error.value))

    run = pretrain(data, settings(), tmp_path, "run", progress=Second())
    assert refused == [
        f"{run}: process {os.getpid()} is writing this run; wait until it has ended, or choose another name"
    ]
    assert load_trainer(run)["step"] == 6


@pytest.mark.parametrize("name", ["", ".", "..", "../out", "a/b", "/tmp/x", ".hidden"])
def test_a_name_that_is_no_folder_s_is_refused(data: MemoryDataset, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="expected the name of a folder below"):
        pretrain(data, settings(), tmp_path / "runs", name, resume="auto")
    assert not (tmp_path / "runs").exists()


def test_folders_that_are_no_run_of_ours_stay_as_they_are(data: MemoryDataset, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "letter").touch()
    (tmp_path / "file").touch()
    shutil.copytree(UPSTREAM / "bpe/run", tmp_path / "theirs")
    for name, message in {"docs": "is no run", "file": "is a file", "theirs": "run of the upstream toolkit"}.items():
        with pytest.raises(PragmatiqError, match=message):
            pretrain(data, settings(), tmp_path, name, resume="auto")
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["letter"]
    assert load_run(tmp_path / "theirs").origin == "upstream"


def test_a_run_without_a_checkpoint_begins_again_and_says_so(data: MemoryDataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pretrain(data, settings(), tmp_path, "run", progress=StopAt(1))
    title, about, _ = describe(tmp_path / "run")
    assert title == f"Run {tmp_path / 'run'}"
    assert "a run without a checkpoint" in about["checkpoint"]
    again = SignalAt(100, signal.SIGINT)
    run = pretrain(data, settings(), tmp_path, "run", resume="auto", progress=again)
    assert again.lines == [f"{run}: there is no checkpoint to go on from; training begins at the first step"]
    assert [record["step"] for record in metrics(run)] == [1, 2, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"step": 3},
        {"optimizers": []},
        {"optimizers": [1, 2]},
        {"data": 3},
        {"position": [1, 2, 3]},
        {"averages": 7},
    ],
)
def test_a_trainer_s_state_that_does_not_fit_is_one_line(data: MemoryDataset, tmp_path: Path, state: Any) -> None:
    run = pretrain(data, settings(), tmp_path, "run")
    file = run / "checkpoints/last/trainer.pt"
    torch.save({**(load_trainer(run) if state and "step" not in state else {}), **state}, file)
    with pytest.raises(ArtifactError, match=r"trainer\.pt does not fit"):
        pretrain(data, settings(), tmp_path, "run", resume="auto")


@pytest.mark.parametrize("content", [b"\0\xff\n", b"{}\n", b"[1]\n", b"text\n"])
def test_damaged_metrics_are_one_line_and_are_not_lost(data: MemoryDataset, tmp_path: Path, content: bytes) -> None:
    run = pretrain(data, settings(), tmp_path, "run")
    whole = (run / "metrics.jsonl").read_bytes() + content
    (run / "metrics.jsonl").write_bytes(whole)
    with pytest.raises(ArtifactError, match=r"metrics\.jsonl: line \d+ cannot be read"):
        pretrain(data, settings(), tmp_path, "run", resume="auto")
    assert (run / "metrics.jsonl").read_bytes() == whole


def test_a_disk_that_fills_up_is_one_line(data: MemoryDataset, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "300k") as small:
        with pytest.raises(OutputError, match="could not be written: No space left on device"):
            pretrain(data, settings(), small, "run")
        assert "a run without a checkpoint" in describe(small / "run")[1]["checkpoint"]


@pytest.mark.parametrize("stop_at", [2, 3, 5])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_is_the_uninterrupted_one(
    text_data: MemoryDataset, tmp_path: Path, stop_at: int, accumulate: int
) -> None:
    chosen = settings(accumulate=accumulate)
    whole = pretrain(text_data, chosen, tmp_path, "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(text_data, chosen, tmp_path, "halves", progress=StopAt(stop_at))
    halves = pretrain(text_data, chosen, tmp_path, "halves", resume="auto")
    assert metrics(halves) == metrics(whole)
    theirs = load_run(whole).network.state_dict()
    for name, tensor in load_run(halves).network.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def test_a_finished_run_stays_as_it_is(data: MemoryDataset, tmp_path: Path) -> None:
    run = pretrain(data, settings(), tmp_path, "run")
    before = metrics(run)
    pretrain(data, settings(), tmp_path, "run", resume="auto")
    assert metrics(run) == before


def test_the_seed_decides_the_run(data: MemoryDataset, tmp_path: Path) -> None:
    runs = [pretrain(data, settings(seed=seed), tmp_path, name) for seed, name in [(1, "a"), (1, "b"), (2, "c")]]
    assert metrics(runs[0]) == metrics(runs[1]) != metrics(runs[2])


def test_a_run_describes_itself(text_data: MemoryDataset, tmp_path: Path) -> None:
    run = pretrain(text_data, settings(), tmp_path, "run")
    assert [record["step"] for record in metrics(run)] == [1, 2, 3, 4, 5, 6, 6]
    meta = json.loads((run / "meta.json").read_text(encoding="utf-8"))
    assert meta["tokenizer_hash"] == text_data.tokenizer_hash
    assert meta["data"]["n_users"] == text_data.n_users
    loaded = load_run(run)
    assert (loaded.origin, loaded.text_encoder, loaded.name) == ("pragmatiq-triton", "hash", "run")
    assert loaded.network.config.text_dim == text_data.text_dim


def test_text_free_data_gives_a_run_without_a_text_branch(data: MemoryDataset, tmp_path: Path) -> None:
    run = load_run(pretrain(data, settings(max_steps=1), tmp_path, "run"))
    assert run.text_encoder is None
    assert run.network.text_proj is run.head.text_out is None


def test_a_taken_name_is_refused(data: MemoryDataset, tmp_path: Path) -> None:
    pretrain(data, settings(max_steps=1), tmp_path, "run")
    with pytest.raises(ConfigError, match=r"run exists; continue it with --resume auto"):
        pretrain(data, settings(max_steps=1), tmp_path, "run")


def test_resuming_with_other_settings_or_data_is_refused(data: MemoryDataset, tmp_path: Path) -> None:
    pretrain(data, settings(), tmp_path, "run")
    with pytest.raises(ArtifactError, match=r"setting token_budget was 100, is now 50"):
        pretrain(data, settings(token_budget=50), tmp_path, "run", resume="auto")
    pretrain(data, settings(log_every=2), tmp_path, "run", resume="auto")
    data.tokenizer_hash = "0123"
    with pytest.raises(ArtifactError, match=r"data tokenizer_hash was '.{64}', is now '0123'"):
        pretrain(data, settings(), tmp_path, "run", resume="auto")


def test_non_finite_steps_change_nothing_and_end_training(text_data: MemoryDataset, tmp_path: Path) -> None:
    text_data.vectors[:] = np.nan
    with pytest.raises(DataError, match=r"step 4: .* not finite 4 times in a row"):
        pretrain(text_data, settings(max_skipped=4), tmp_path, "run")
    text_data.vectors[:] = 1
    weights = load_run(tmp_path / "run").network.state_dict()
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_data_without_events_is_refused(data: MemoryDataset, tmp_path: Path) -> None:
    data.token_counts[:] = 0
    with pytest.raises(DataError, match="no user has events"):
        pretrain(data, settings(), tmp_path, "run")


def test_mixed_precision_trains(text_data: MemoryDataset, tmp_path: Path) -> None:
    run = pretrain(text_data, settings(precision="bf16-mixed"), tmp_path, "run")
    assert all(math.isfinite(record.get("loss", 0)) for record in metrics(run))
    assert {tensor.dtype for tensor in load_run(run).network.state_dict().values()} == {torch.float32}


def test_held_out_text_is_predicted_from_the_same_event(text_data: MemoryDataset, tmp_path: Path) -> None:
    chosen = settings(max_steps=150, token_budget=600, warmup_steps=10, log_every=50, dropout=0.0, held_out=0.2)
    last = metrics(pretrain(text_data, chosen, tmp_path, "run"))[-1]
    assert last["val_mse"] < 0.5 * text_data.vectors.var()
    assert last["val_masked_accuracy"] > 0.5


def test_a_training_that_never_takes_a_step_ends_with_an_error(text_data: MemoryDataset, tmp_path: Path) -> None:
    text_data.vectors[:] = np.nan
    with pytest.raises(DataError, match=r"step 6: .* not finite 6 times in a row"):
        pretrain(text_data, settings(), tmp_path, "run")


def test_weights_that_are_not_finite_leave_the_last_checkpoint(data: MemoryDataset, tmp_path: Path) -> None:
    trainer = Trainer(data, settings(), tmp_path / "run")
    create_run(tmp_path / "run", {}, {}, data.tokenizer_dir)
    trainer.save()
    expected = weights_hash(load_run(tmp_path / "run").network)
    next(trainer.model.network.parameters()).data[0] = np.inf
    with pytest.raises(DataError, match=r"step 0: the weight network\..* is no longer finite; no checkpoint"):
        trainer.save()
    assert weights_hash(load_run(tmp_path / "run").network) == expected


def test_a_weight_of_text_without_text_is_an_error(data: MemoryDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"text_loss_weight: 0.5 does nothing with a BPE data set"):
        pretrain(data, settings(text_loss_weight=0.5), tmp_path, "run")
