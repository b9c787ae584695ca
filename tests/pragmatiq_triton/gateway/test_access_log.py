"""The file of the access log: moved away, grown large, on a full disk, sampled."""

import json
import time

import pytest

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.call import Call
from pragmatiq_triton.gateway.seen import access_log as module
from pragmatiq_triton.gateway.seen.access_log import AccessLogFile
from pragmatiq_triton.gateway.seen.settings import AccessLog


@pytest.fixture
def opened():
    """Opens logs and closes them."""
    logs = []

    def make(output=None, **settings):
        logs.append(AccessLogFile(AccessLog(**settings), "f" * 64, output))
        return logs[-1]

    yield make
    for each in logs:
        each.close()


def call(number, code=""):
    return Call("http", "/v1/score", f"request-{number}", model="scoring", code=code)


def numbers(*files):
    return [json.loads(line)["request_id"] for file in files for line in file.read_text().splitlines()]


def until(condition):
    give_up = time.monotonic() + 10
    while not (found := condition()) and time.monotonic() < give_up:
        time.sleep(0.02)
    return found


def test_a_file_that_is_moved_away_is_begun_anew_and_no_line_is_lost(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_LINES", 1)
    file = tmp_path / "access.jsonl"
    log = opened(file=str(file))
    log(call(1))
    assert until(lambda: numbers(file) == ["request-1"])
    file.rename(tmp_path / "moved")
    log(call(2))
    assert until(lambda: file.exists() and numbers(file) == ["request-2"])
    assert numbers(tmp_path / "moved") == ["request-1"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_large_enough_becomes_the_older_one(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_LINES", 1)
    file = tmp_path / "access.jsonl"
    log = opened(file=str(file), max_bytes=4096)
    for number in range(100):
        log(call(number))
    log.close()
    older = tmp_path / "access.jsonl.1"
    assert file.stat().st_size <= 4096 + 512
    assert older.stat().st_size <= 4096 + 512
    kept = numbers(older, file)
    assert kept == [f"request-{number}" for number in range(100 - len(kept), 100)]


def test_a_log_that_was_there_is_gone_on_with(opened, tmp_path):
    file = tmp_path / "access.jsonl"
    for number in (1, 2):
        log = opened(file=str(file))
        log(call(number))
        log.close()
    assert numbers(file) == ["request-1", "request-2"]


def test_good_calls_are_sampled_and_failed_ones_are_not(opened, tmp_path):
    file = tmp_path / "access.jsonl"
    log = opened(file=str(file), sample=0.0)
    log(call(1))
    log(call(2, code="busy"))
    log.close()
    assert numbers(file) == ["request-2"]


def test_on_a_full_disk_lines_are_lost_counted_and_said_once(opened, caplog):
    log = opened(file="/dev/full")
    for number in range(50):
        log(call(number))
    log.close()
    assert log.lost == 50
    assert [record.message for record in caplog.records] == [
        "access log: lines are lost: [Errno 28] No space left on device"
    ]


def test_a_writer_that_stalls_holds_no_call_up(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WAITING_LINES", 10)
    stalled = module.threading.Event()
    monkeypatch.setattr(module, "_write_all", lambda *_: stalled.wait(20))
    log = opened(file=str(tmp_path / "access.jsonl"))
    began = time.monotonic()
    for number in range(100):
        log(call(number))
    assert time.monotonic() - began < 10
    assert log.lost >= 89
    stalled.set()


def test_standard_output_is_for_a_container(opened, tmp_path):
    with pytest.raises(ConfigError, match="name a file here"):
        opened(file="-")
    with (tmp_path / "out").open("wb") as out:
        log = opened(out.fileno(), file="-")
        log(call(1))
        log.close()
    assert numbers(tmp_path / "out") == ["request-1"]


def test_a_file_that_cannot_be_opened_is_named(opened, tmp_path):
    with pytest.raises(ConfigError, match=r"access_log\.file: .*no.such: No such file or directory"):
        opened(file=str(tmp_path / "absent" / "no.such"))
