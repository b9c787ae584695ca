"""The tokenizer's stage: what its parameters and its environment change, and what it counts."""

import numpy as np
import pytest

from pragmatiq_triton.cache.fingerprints import KEY_FILE
from pragmatiq_triton.cache.folder import CACHE_FOLDER_VARIABLE
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.serving.metrics import METRICS
from pragmatiq_triton.serving.tokenizing import TokenizerStage
from tests.conftest import RECORDS


def request(*raws):
    return {"record": np.array(raws, object).reshape(-1, 1)}


def load(repository, **parameters):
    return TokenizerStage.load(repository / "tokenizer" / "1", parameters)


def samples(stage):
    return {(name, *labels.values()): value for name, value, labels in stage.samples()}


def test_answers_are_the_same_with_and_without_a_cache(repository, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_FOLDER_VARIABLE, str(tmp_path))
    requests = [request(RECORDS[2], RECORDS[4]), request(RECORDS[0]), request(RECORDS[2])]
    stages = [load(repository), load(repository, record_cache_bytes="20000"), load(repository, record_cache_bytes="0")]
    first, *others = [stage(requests) for stage in stages for _ in range(2)]
    for answers in others:
        for answer, expected in zip(answers, first, strict=True):
            assert answer.keys() == expected.keys()
            for name, array in answer.items():
                np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_a_cache_folder_gives_fingerprints_that_outlive_the_process(repository, tmp_path, monkeypatch):
    def keys():
        return load(repository)([request(RECORDS[2])])[0]["event_keys"]

    monkeypatch.delenv(CACHE_FOLDER_VARIABLE, raising=False)
    assert not np.isin(keys(), keys()).any()
    monkeypatch.setenv(CACHE_FOLDER_VARIABLE, str(tmp_path / "cache"))
    np.testing.assert_array_equal(keys(), keys())
    (tmp_path / "cache" / KEY_FILE).chmod(0o644)
    with pytest.raises(ConfigError, match=KEY_FILE):
        keys()


@pytest.mark.parametrize("value", ["-1", "64MB", "1.5", ""])
def test_a_cache_of_no_whole_number_of_bytes_is_refused(repository, value):
    with pytest.raises(ConfigError, match=r"record_cache_bytes in config\.pbtxt: expected a whole number"):
        load(repository, record_cache_bytes=value)


def test_samples_say_what_was_read(repository, variant):
    stage = load(repository)
    n_metrics = len(stage.samples())
    answer, refused = stage([request(RECORDS[2]), request(b"{}")])
    stage([request(RECORDS[2])])
    assert isinstance(refused, Exception)
    counted = samples(stage)
    assert len(counted) == n_metrics
    assert {name for name, *_ in counted} <= METRICS.keys()
    n_events, n_tokens = answer["events"].shape[1], answer["tokens"].shape[1]
    assert counted["pragmatiq_events_total",] == 2 * n_events
    assert counted["pragmatiq_tokens_total",] == 2 * n_tokens
    assert counted["pragmatiq_cache_hits_total", "profiles"] == 1
    assert counted["pragmatiq_cache_hits_total", "records"] >= n_events
    capacity = {key[1]: value for key, value in counted.items() if key[0].endswith("_capacity_bytes")}
    assert sum(capacity.values()) == 128 * 1024 * 1024
    assert {"records", "profiles"} <= capacity.keys()
    assert ("pieces" in capacity) == (variant == "bpe")
    if variant == "bpe":
        assert counted["pragmatiq_cache_bytes", "pieces"] > 0
    for stage_name in ("read", "tokenize", "pack"):
        assert counted["pragmatiq_stage_runs_total", stage_name] == 2
        assert counted["pragmatiq_stage_seconds_total", stage_name] > 0


def test_the_operator_says_which_times_are_plausible(repository):
    early = b'{"events": [{"ts": -5000000000000, "source": "app"}]}'
    (refused,) = load(repository)([request(early)])
    assert "$.events[0].ts: expected microseconds since the epoch from 1971-01-01 to 9999-12-31, got" in str(refused)
    (answer,) = load(repository, earliest_time="1969-11-01")([request(early)])
    assert answer["events"].shape[1] == 1
    (refused,) = load(repository, latest_time="2024-12-31")([request(RECORDS[2])])
    assert "from 1971-01-01 to 2024-12-31, got" in str(refused)
    with pytest.raises(
        ConfigError, match=r"config\.pbtxt: latest_time: expected a date such as 1971-01-01, got '2024'"
    ):
        load(repository, latest_time="2024")
