"""`pragmatiq score` on whatever files, servers and ends."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pragmatiq_builder import score_input
from pragmatiq_builder.cli.scoring import Protocol, score
from pragmatiq_builder.score import FAILURES_IN_A_ROW, LineAnswer
from pragmatiq_builder.score_input import read_lines
from pragmatiq_builder.score_output import ResultFiles
from pragmatiq_client import InvalidRecordError
from pragmatiq_triton.errors import ConfigError, DataError, PragmatiqError
from pragmatiq_triton.server import TritonServer
from pragmatiq_triton.server.ports import reserve_ports
from tests.clients.small import write_small_repository

COMMAND = [str(Path(sys.executable).parent / "pragmatiq"), "score"]


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory):
    return write_small_repository(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def small_server(small_repository):
    forward = ["--http-header-forward-pattern=x-.*", "--grpc-header-forward-pattern=x-.*"]
    with TritonServer(small_repository, http_port=0, grpc_port=0, metrics_port=0, extra_args=forward) as running:
        yield running


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def read(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.triton
def test_records_without_an_answer_are_kept_and_the_others_go_on(pragmatiq, small_server, tmp_path):
    file, out = tmp_path / "records.jsonl", tmp_path / "out.jsonl"
    records = [{"user_id": f"u{n}", "n": n} for n in range(20)]
    records[4]["bad"] = "it"
    records[9]["error"] = "INTERNAL"
    file.write_bytes(lines(*records) + b"\xff\n")
    done = pragmatiq("score", file, "--url", small_server.grpc_url, "--out", out, "--json", expect=6)
    assert done.json == {
        "records": 21, "answered": 18, "refused": 2, "failed": 1, "last_line": 21,
        "out": str(out), "rejected": f"{out}.rejected",
    }  # fmt: skip
    assert "2 of 21 records were refused; 1 of 21 records failed; they are in" in done.err
    assert [entry["line"] for entry in read(out)] == list(range(1, 22))
    answered = [entry for entry in read(out) if "scores" in entry]
    assert [entry["scores"]["fraud"] for entry in answered] == [n for n in range(20) if n not in (4, 9)]
    kept = read(tmp_path / "out.jsonl.rejected")
    assert [(entry["line"], entry["user_id"], entry["kind"]) for entry in kept] == [
        (5, "u4", "refused"),
        (10, "u9", "failed"),
        (21, "?", "refused"),
    ]
    assert "$.events[0].ts: expected int, got it" in kept[0]["error"]
    assert kept[1]["request_id"]
    assert json.loads(kept[0]["record"]) == records[4]
    assert kept[2]["record_base64"] == "/w=="
    again = pragmatiq("score", file, "--url", small_server.grpc_url, "--out", out, "--resume", "--json", expect=6)
    assert again.json == done.json


@pytest.mark.triton
def test_a_killed_run_is_resumed_without_loss_or_repetition(pragmatiq, small_server, tmp_path):
    file, out = tmp_path / "records.jsonl", tmp_path / "out.jsonl"
    records = [{"user_id": f"u{n}", "n": n, "sleep": 0.02, **({"bad": 1} if n % 7 == 0 else {})} for n in range(100)]
    file.write_bytes(lines(*records))
    command = [*COMMAND, file, "--url", small_server.grpc_url, "--out", out]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        while not out.exists() or out.read_bytes().count(b"\n") < 20:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    assert out.read_bytes().count(b"\n") < 100
    with out.open("ab") as torn, (tmp_path / "out.jsonl.rejected").open("ab") as rejected:
        torn.write(b'{"line": 99, "user_i')
        rejected.write(b'{"line": 99, "user_id": "u98", "kind": "refused", "error": "x", "record": "y"}\n')
    done = pragmatiq("score", file, "--url", small_server.grpc_url, "--out", out, "--resume", expect=3)
    assert "what was cut off at its end is scored again" in done.err
    assert [entry["user_id"] for entry in read(out)] == [f"u{n}" for n in range(100)]
    kept = read(tmp_path / "out.jsonl.rejected")
    assert [entry["user_id"] for entry in kept] == [f"u{n}" for n in range(0, 100, 7)]


@pytest.mark.triton
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_scoring_goes_on_over_a_restart(pragmatiq, small_repository, tmp_path, protocol):
    file, out = tmp_path / "records.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(lines(*({"user_id": f"u{n}", "n": n, "sleep": 0.02} for n in range(200))))
    names = ("http_port", "grpc_port", "metrics_port")
    options = dict(zip(names, reserve_ports("127.0.0.1", [0, 0, 0]), strict=True), extra_args=["--exit-timeout-secs=1"])
    first = TritonServer(small_repository, **options)
    first.start()
    done = []
    url = f"{protocol}://{first.grpc_url if protocol == 'grpc' else first.http_url}"
    arguments = ("score", file, "--url", url, "--out", out, "--timeout", "2", "--json")
    scoring = threading.Thread(target=lambda: done.append(pragmatiq(*arguments)))
    scoring.start()
    while not out.exists() or out.read_bytes().count(b"\n") < 20:
        assert scoring.is_alive()
        time.sleep(0.01)
    first.stop()
    with TritonServer(small_repository, **options):
        scoring.join()
    assert done[0].json["answered"] == 200
    assert [entry["scores"]["fraud"] for entry in read(out)] == list(range(200))


@pytest.mark.triton
def test_a_server_that_fails_on_everything_ends_it(pragmatiq, small_server, tmp_path):
    file, out = tmp_path / "records.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(lines(*({"user_id": f"u{n}", "error": "INTERNAL"} for n in range(200))))
    done = pragmatiq("score", file, "--url", small_server.grpc_url, "--out", out, expect=6)
    assert "records in a row failed, the last one with: " in done.err
    assert FAILURES_IN_A_ROW <= len(read(out)) < 100
    assert "--resume" in done.err


@pytest.mark.triton
@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"n": 1, "user_id": "\xc3\xa9"}\n{"n": 2}\n',
        b'{"n": 1, "user_id": "\xc3\xa9"}\r\n\r\n  \r\n{"n": 2}',
        gzip.compress(b'{"n": 1, "user_id": "\xc3\xa9"}\n{"n": 2}\n'),
    ],
    ids=["mark", "windows", "gzip"],
)
def test_files_as_other_programs_write_them(pragmatiq, small_server, tmp_path, content):
    file = tmp_path / "records.jsonl"
    file.write_bytes(content)
    done = pragmatiq("score", file, "--url", f"http://{small_server.http_url}", "--json")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["scores"]["fraud"] for answer in answers] == [1.0, 2.0]
    assert answers[0]["user_id"] == "é"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\n \r\n", "all lines are blank"),
        (b'[{"events": []}]', "a JSON array"),
        ("﻿{}".encode("utf-16"), "UTF-16"),
        (b"PAR1....", "parquet"),
        (b"PK\x03\x04..", "zip"),
        (gzip.compress(b'{"events": []}\n' * 100)[:-20], "damaged or cut off"),
        (b"\x1f\x8b\x08\x00nonsense", "damaged or cut off"),
    ],
)
def test_a_file_that_has_no_records_is_named(tmp_path, content, problem):
    file, out = tmp_path / "records.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"{file}: .*{problem}"):
        score(file, url="127.0.0.1:1", timeout=0.2, out=out)
    assert not out.exists()


def test_a_line_over_the_limit_is_not_kept_whole(monkeypatch, tmp_path):
    monkeypatch.setattr(score_input, "MAX_LINE_BYTES", 100)
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"a" * 100 + b"\n" + b"b" * 5_000_000 + b"\nc\n" + b"d" * 101)
    found = [(line.number, line.size, line.raw and line.raw[:1]) for line in read_lines(file)]
    assert found == [(1, 101, None), (2, 5_000_001, None), (3, 2, b"c"), (4, 101, None)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": "localhost"}, "the port is missing"),
        ({"url": "ftp://localhost:1"}, "expected host:port"),
        ({"url": "https://localhost:1", "ca": Path("nowhere.pem")}, r"ca: nowhere\.pem: No such file"),
        ({"url": "grpc://localhost:1", "protocol": Protocol.HTTP}, "not 'http'"),
        ({"key": Path("key.pem")}, "a key without its certificate"),
        ({"header": ["secret"]}, "expected NAME:VALUE"),
        ({"header": ["authorization: sécret"]}, "authorization: expected a value"),
        ({"resume": True}, "--resume needs --out"),
        ({"rejected": Path("x")}, "--rejected needs --out"),
    ],
)
def test_an_option_that_cannot_be_meant(tmp_path, options, problem):
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"{}\n")
    with pytest.raises(ConfigError, match=problem) as caught:
        score(file, **options)
    assert "cret" not in str(caught.value)


@pytest.mark.triton
def test_headers_and_an_ascii_terminal(small_server, tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_bytes(lines({"tell": "x-tenant", "user_id": "ü"}))
    command = [*COMMAND, file, "--url", small_server.grpc_url, "--header", "X-Tenant: retail", "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.decode("ascii"))
    assert answer["user_id"] == "ü"
    assert [*answer["scores"]] == ["retail", "churn"]


@pytest.mark.triton
def test_ctrl_c_says_how_to_go_on(small_server, tmp_path):
    file, out = tmp_path / "records.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(lines(*({"user_id": f"u{n}", "n": n, "sleep": 0.05} for n in range(500))))
    with subprocess.Popen(
        [*COMMAND, file, "--url", small_server.grpc_url, "--out", out],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as scoring:
        while not out.exists() or out.read_bytes().count(b"\n") < 8:
            assert scoring.poll() is None
            time.sleep(0.01)
        scoring.send_signal(signal.SIGINT)
        _, said = scoring.communicate(timeout=30)
    assert scoring.returncode == 130
    assert "--resume goes on from there" in " ".join(said.split())
    assert "Traceback" not in said


def answers(*numbers):
    error = InvalidRecordError("no")
    return [LineAnswer(number, f"u{number}", b"{}", error=error) for number in numbers]


def test_results_are_never_overwritten(tmp_path):
    out, rejected = tmp_path / "out", tmp_path / "rejected"
    with ResultFiles(out, rejected, resume=False) as files:
        files.write(answers(1, 2))
        with pytest.raises(ConfigError, match="another score is writing it"):
            ResultFiles(out, rejected, resume=True)
    for path in (out, rejected):
        with pytest.raises(ConfigError, match=f"{path}: exists already; --resume"):
            ResultFiles(path, tmp_path / "other", resume=False)
    with pytest.raises(ConfigError, match="another file than --out"):
        ResultFiles(out, out, resume=True)
    with pytest.raises(ConfigError, match="expected a file"):
        ResultFiles(tmp_path, rejected, resume=True)
    other = tmp_path / "other.txt"
    other.write_text("hello\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="none that score writes"):
        ResultFiles(other, tmp_path / "none", resume=True)
    assert other.read_text(encoding="utf-8") == "hello\n"


def test_resuming_with_another_file_is_refused(tmp_path):
    file, out = tmp_path / "records.jsonl", tmp_path / "out.jsonl"
    with ResultFiles(out, tmp_path / "out.jsonl.rejected", resume=False) as files:
        files.write(answers(1, 2))
    before = out.read_bytes()
    for content in (lines({"user_id": "u1"}, {"user_id": "other"}, {}), lines({"user_id": "u1"})):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="--resume needs the same file"):
            score(file, url="127.0.0.1:1", timeout=0.2, out=out, resume=True)
        assert out.read_bytes() == before


def test_a_full_disk_keeps_what_is_done(monkeypatch, tmp_path):
    out, rejected = tmp_path / "out", tmp_path / "rejected"
    real, room = os.write, [150]

    def write(file, data):
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(file, bytes(data)[: room[0]])
        room[0] -= written
        return written

    with ResultFiles(out, rejected, resume=False) as files:
        files.write(answers(1))
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(PragmatiqError, match=r"No space left on device; up to line 1 .*make room .*--resume"):
            files.write(answers(2, 3))
    monkeypatch.undo()
    with ResultFiles(out, rejected, resume=True) as files:
        assert (files.done, files.last_user, files.repaired) == (1, "u1", True)
        assert files.counts == {"refused": 1}
        files.write(answers(2, 3))
    assert [entry["line"] for entry in read(out)] == [entry["line"] for entry in read(rejected)] == [1, 2, 3]


def test_nothing_done_leaves_no_files(tmp_path):
    with ResultFiles(tmp_path / "out", tmp_path / "rejected", resume=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_damaged_gzip_says_after_which_line(tmp_path):
    file = tmp_path / "records.gz"
    file.write_bytes(gzip.compress(os.urandom(500).hex().encode() + b"\n" + os.urandom(90_000))[:-5000])
    with pytest.raises(DataError, match="after line"):
        list(read_lines(file))
