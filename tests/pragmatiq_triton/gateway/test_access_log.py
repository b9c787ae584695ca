"""The file of the access log: moved away, grown large, on a full disk, sampled."""

import json
import os
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
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    file = tmp_path / "access.jsonl"
    log = opened(file=str(file))
    log(call(1))
    assert until(lambda: numbers(file) == ["request-1"])
    file.rename(tmp_path / "moved")
    log(call(2))
    assert until(lambda: file.exists() and numbers(file) == ["request-2"])
    assert numbers(tmp_path / "moved") == ["request-1"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_logrotate_makes_in_its_place_is_gone_on_with(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    file = tmp_path / "access.jsonl"
    log = opened(file=str(file))
    log(call(1))
    assert until(lambda: numbers(file) == ["request-1"])
    file.rename(tmp_path / "access.jsonl.1")
    file.touch(0o640)
    log(call(2))
    assert until(lambda: numbers(file) == ["request-2"])
    file.write_bytes(b"")  # copytruncate
    log(call(3))
    assert until(lambda: numbers(file) == ["request-3"])
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("what", ["folder", "pipe", "no folder"])
def test_what_is_no_file_any_more_loses_lines_that_are_counted_until_it_is_one_again(
    opened, tmp_path, monkeypatch, caplog, what
):
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    file = tmp_path / "log" / "access.jsonl"
    file.parent.mkdir()
    log = opened(file=str(file))
    log(call(1))
    assert until(lambda: numbers(file) == ["request-1"])
    file.parent.rename(tmp_path / "moved")
    if what != "no folder":
        file.parent.mkdir()
        (file.mkdir if what == "folder" else lambda: os.mkfifo(file))()
    log(call(2))
    assert until(lambda: log.lost == 1)
    assert caplog.text.count("access log: lines are lost") == 1
    if what != "no folder":
        (file.rmdir if what == "folder" else file.unlink)()
    file.parent.mkdir(exist_ok=True)
    log(call(3))
    assert until(lambda: file.is_file() and numbers(file) == ["request-3"])
    assert "is written again; 1 lines were lost so far" in caplog.text


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
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for path, why in (
        (tmp_path / "absent" / "no.such", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (pipe, "Not a file"),
    ):
        with pytest.raises(ConfigError, match=rf"access_log\.file: {path}: {why}; expected a file in a folder"):
            opened(file=str(path))
    os.close(reader)
    with pytest.raises(ConfigError, match=rf"{pipe}: No such device or address"):
        opened(file=str(pipe))
