"""perf_analyzer's answers: a real export of twelve requests by two callers, and programs that stand in for it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from bench.serving.analyzer import Load, Target, analyze, read_profile
from bench.serving.errors import BenchError
from bench.serving.fetch import Program

EXPORT = Path(__file__).parents[2] / "data" / "bench" / "perf_analyzer_export.json"
ENTRIES = [f"record {number} é" for number in range(12)]
TARGET = Target("127.0.0.1:1", "scoring", "record")


@pytest.fixture
def requests():
    (experiment,) = json.loads(EXPORT.read_text(encoding="utf-8"))["experiments"]
    return sorted(experiment["requests"], key=lambda request: request["timestamp"])


def program(folder, script):
    path = folder / "perf_analyzer"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return Program(path, (folder,))


def test_latencies_and_rate_come_from_the_time_stamps_of_all_but_the_first(requests):
    profile = read_profile(EXPORT.read_bytes(), 2, Counter(ENTRIES))
    counted = requests[2:]
    expected = [(each["response_timestamps"][0] - each["timestamp"]) / 1e6 for each in counted]
    assert profile.latencies_ms == pytest.approx(expected)
    span = max(each["response_timestamps"][0] for each in counted) - counted[0]["timestamp"]
    assert profile.requests_per_second == pytest.approx(10 / (span / 1e9))
    assert min(expected) <= profile.percentile(50) <= profile.percentile(99) <= max(expected)


@pytest.mark.parametrize("entries", [ENTRIES[:-1], [*ENTRIES, "one more"], [*ENTRIES[:-1], ENTRIES[0]]])
def test_every_entry_has_to_be_sent_once(entries):
    with pytest.raises(BenchError, match="12 requests, 12 of them different"):
        read_profile(EXPORT.read_bytes(), 2, Counter(entries))


def test_every_request_has_to_be_answered(requests):
    requests[3]["response_timestamps"] = []
    export = json.dumps({"experiments": [{"requests": requests}]}).encode()
    with pytest.raises(BenchError, match="1 of 12 requests were not answered"):
        read_profile(export, 2, Counter(ENTRIES))


def test_an_export_that_was_cut_short_is_refused():
    with pytest.raises(BenchError, match="not whole"):
        read_profile(EXPORT.read_bytes()[:-100], 2, Counter(ENTRIES))


def test_inputs_and_flags_reach_the_program(tmp_path):
    script = f'echo "$@" > {tmp_path}/words; cp {EXPORT} profile.json'
    profile = analyze(program(tmp_path, script), TARGET, Load(callers=2), ENTRIES, 1, tmp_path / "work")
    assert len(profile.latencies_ms) == 10
    data = json.loads((tmp_path / "work" / "inputs.json").read_text(encoding="utf-8"))["data"]
    assert [entry["record"]["content"] for entry in data] == [[entry] for entry in ENTRIES]
    words = (tmp_path / "words").read_text(encoding="utf-8")
    assert "-m scoring -i grpc -u 127.0.0.1:1" in words
    assert "--request-count 12" in words
    assert "--concurrency-range 2" in words


def test_a_failed_request_ends_the_run_with_its_reason(tmp_path):
    failing = program(tmp_path, 'echo "Thread [0] had error: bad record"; echo "Usage: a long help" >&2; exit 99')
    with pytest.raises(BenchError, match=r"ended with 99:\nThread \[0\] had error: bad record$"):
        analyze(failing, TARGET, Load(callers=2), ENTRIES, 1, tmp_path)


def test_an_old_export_is_not_taken_for_a_new_one(tmp_path):
    (tmp_path / "profile.json").write_bytes(EXPORT.read_bytes())
    with pytest.raises(BenchError, match="ended with 0"):
        analyze(program(tmp_path, "exit 0"), TARGET, Load(callers=2), ENTRIES, 1, tmp_path)


@pytest.mark.parametrize("load", [Load(callers=64), Load(rate=123.4), Load(rate=0.2)])
def test_there_are_enough_requests_for_perf_analyzer(load):
    assert load.fewest > max(load.callers, load.rate, load.warm_up)
