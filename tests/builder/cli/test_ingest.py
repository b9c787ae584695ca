"""``pragmatiq ingest`` on the command line: what it prints, and how it ends."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
import yaml
from typer.testing import CliRunner

from pragmatiq_builder.cli.app import app

ROWS = "customer,at,amount\n" + "".join(f"c{at % 7},2025-01-{at % 27 + 1:02} 10:00:00,{at}.5\n" for at in range(200))


def pragmatiq(*words: object):
    return CliRunner().invoke(app, ["ingest", *map(str, words)], catch_exceptions=True)


def test_from_a_table_to_raw_data(tmp_path, monkeypatch):
    (tmp_path / "cards.csv").write_text(ROWS + "c1,never,2\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    drafted = pragmatiq("init", "cards.csv")
    assert drafted.exit_code == 0, drafted.output
    assert "cards.csv: events; customer customer, moment at; 1 fields" in drafted.output
    done = pragmatiq("ingest.yaml", "--out", "raw", "--report", "report.html")
    assert done.exit_code == 0, done.output
    assert "events[0]  cards.csv: 201 read, 200 written" in done.output
    assert "    1 time cannot be read as iso, as UTC (at)" in done.output
    assert (tmp_path / "report.html").exists()
    plain = pragmatiq("run", "ingest.yaml", "--out", "raw", "--json")
    assert json.loads(plain.stdout)["tables"][0]["written"] == 200


def test_over_a_limit_the_counts_are_shown_and_the_exit_code_is_3(tmp_path, monkeypatch):
    (tmp_path / "cards.csv").write_text(ROWS + "c1,never,2\n" * 20, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    pragmatiq("init", "cards.csv")
    done = pragmatiq("ingest.yaml", "--out", "raw")
    assert done.exception is not None
    assert getattr(done.exception, "exit_code", None) == 3
    assert "Not written: raw" in done.output
    assert "    20 time cannot be read as iso, as UTC (at)" in done.output
    assert not (tmp_path / "raw").exists()


def test_guesses_as_json(tmp_path, monkeypatch):
    (tmp_path / "cards.csv").write_text(ROWS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    drafted = pragmatiq("init", "cards.csv", "--json", "--zone", "Europe/London")
    found = json.loads(drafted.stdout)["tables"]["cards.csv"]
    assert (found["kind"], found["user"], found["time"], found["fields"]) == ("events", "customer", "at", ["amount"])
    assert pragmatiq("init", "cards.csv", "--ask", "--overwrite").exception is not None


@pytest.mark.parametrize(
    ("sent", "code", "line"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "stopped by SIGTERM\n")]
)
def test_a_signal_within_a_query_is_one_line_and_leaves_nothing(tmp_path, sent, code, line):
    endless = "SELECT 'c' || i AS customer, '2025-01-01' AS at, i AS amount FROM range(100000000000) t(i)"
    event = {"query": endless, "source": "card", "user": "customer", "time": "at", "fields": ["amount"]}
    (tmp_path / "ingest.yaml").write_text(json.dumps({"events": [event]}), encoding="utf-8")
    command = [sys.executable, "-m", "pragmatiq_builder.cli", "ingest", "ingest.yaml", "--out", "raw"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("Reading events[0]: query")
            time.sleep(0.5)
            process.send_signal(sent)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, said) == (code, line)
    assert [path.name for path in tmp_path.iterdir()] == ["ingest.yaml"]


def test_questions_are_asked_in_a_terminal_and_what_depends_on_an_answer_is_guessed_after_it(tmp_path):
    rows = "".join(f"x{at % 5},{at % 3},2025-01-01 10:00:{at:02},{at}.5\n" for at in range(60))
    (tmp_path / "cards.csv").write_text(f"who,branch_id,at,amount\n{rows}", encoding="utf-8")
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        os.execv(
            sys.executable, [sys.executable, "-m", "pragmatiq_builder.cli", "ingest", "init", "cards.csv", "--ask"]
        )
    shown = ""
    try:
        for question, answer in (
            ("what is a row? (events, profiles, labels)", ""),
            ("which column is the customer?", "whom"),
            ("'whom' is not among them", "who"),
            ("which column is the moment? (who, branch_id, at, amount)", ""),
        ):
            shown = read_until(terminal, r"> $")
            assert question in shown
            os.write(terminal, f"{answer}\n".encode())
        shown = read_until(terminal, None)
    finally:
        # A process that still asks ends with its terminal.
        os.close(terminal)
        _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown
    (events,) = yaml.safe_load((tmp_path / "ingest.yaml").read_text(encoding="utf-8"))["events"]
    assert events["user"] == "who"
    assert set(events["fields"]) == {"branch_id", "amount"}


def read_until(terminal: int, pattern: str | None) -> str:
    """What a terminal shows, without colours and movements, until it matches or, if None, until its end."""
    shown = ""
    while pattern is None or not re.search(pattern, shown):
        assert select.select([terminal], [], [], 60)[0], shown
        try:
            read = os.read(terminal, 4096)
        except OSError:
            return shown
        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", shown + read.decode("utf-8", "replace"))
    return shown
