"""Training as a user starts, stops and kills it."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from pragmatiq_builder.runs import load_run, load_trainer

COMMAND = (sys.executable, "-m", "pragmatiq_builder.cli", "pretrain")


@pytest.fixture(scope="module")
def tok(pragmatiq, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("tok") / "tok"
    pragmatiq("tokenize", data, "--out", out)
    return out


@pytest.fixture
def start(tok, tmp_path):
    """Starts a training of the run ``stopped``."""
    config = tmp_path / "config.yaml"
    config.write_text("{model_size: nano, token_budget: 400, held_out: 0, accelerator: cpu}", encoding="utf-8")

    def begin(*options):
        arguments = [tok, "--name", "stopped", "--runs-root", tmp_path / "runs", "--config", config, "--threads", "1"]
        return subprocess.Popen(
            [*COMMAND, *arguments, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    return begin


def until_training(process):
    for line in process.stderr:
        if line.startswith("Pre-training"):
            return
    pytest.fail("training did not begin")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_how_to_go_on_and_does_not_cut_the_saving(start, tmp_path, pragmatiq, number, code):
    with start("--max-steps", "100000") as process:
        until_training(process)
        time.sleep(0.5)
        process.send_signal(number)
        time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    run = tmp_path / "runs" / "stopped"
    assert process.returncode == code, err
    step = load_trainer(run)["step"]
    assert f"{run}: stopped by {number.name} after step {step} of 100000, in a checkpoint; the same command" in err
    assert "Traceback" not in err
    assert load_run(run).origin == "pragmatiq-triton"
    if number == signal.SIGINT:
        assert json.loads(pragmatiq("info", run, "--json").out)["name"] == "stopped"


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_loadable_checkpoint_once_there_was_one(start, tmp_path):
    (tmp_path / "config.yaml").write_text(
        "{model_size: nano, token_budget: 400, held_out: 0, accelerator: cpu, checkpoint_every: 1}", encoding="utf-8"
    )
    run, step, rng = tmp_path / "runs" / "stopped", 0, random.Random(0)
    last = run / "checkpoints" / "last"
    for _ in range(3):
        before = last.stat().st_ino if step else None
        with start("--max-steps", "100000", "--resume", "auto") as process:
            until_training(process)
            # A checkpoint after every step: one is nearly always being written.
            while not last.exists() or last.stat().st_ino == before:
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
        load_run(run)
        assert load_trainer(run)["step"] > step
        step = load_trainer(run)["step"]
