"""What the toolkits write is read from their files; a command that fails ends the benchmark with its own words."""

import json
from dataclasses import replace

import pytest

from bench.toolkits import Sizes, ours, upstream


@pytest.fixture
def other(tmp_path):
    (tmp_path / "ready").touch()
    return upstream(tmp_path)


def test_the_last_report_of_speed_counts_whatever_lines_follow_it(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 4, "tokens_per_second": 1.0},
        {"step": 8, "tokens_per_second": 2.0},
        {"step": 8, "val_loss": 0.1},
    ]
    metrics.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert ours().last_speed(metrics) == 2.0


def test_the_upstream_speed_is_that_of_the_window_not_of_the_whole_run(tmp_path, other):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 8, "tokens_per_sec": 1.0, "tokens_per_sec_window": 3.0}\n', encoding="utf-8")
    assert other.last_speed(metrics) == 3.0


def test_metrics_without_a_speed_are_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "val_loss": 0.1}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match="tokens_per_second"):
        ours().last_speed(tmp_path / "metrics.jsonl")


def test_sizes_come_from_the_manifest_and_the_tokenizer(tmp_path, other):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text('{"vocab_size": 3000}', encoding="utf-8")
    (tmp_path / "shard_manifest.json").write_text('{"total_events": 10, "total_tokens": 130}', encoding="utf-8")
    assert other.sizes(tmp_path) == Sizes(events=10, tokens=130, vocab_size=3000)


def test_a_command_that_fails_ends_with_its_words(tmp_path):
    toolkit = replace(ours(), tokenize_options=("--no-such-option",))
    with pytest.raises(SystemExit, match="no-such-option"):
        toolkit.tokenize(tmp_path, tmp_path / "tok")
