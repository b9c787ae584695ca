"""What every command shares: progress where there is no terminal, names shown as they are, ends by signals."""

import json
import os
import signal
import subprocess
import sys

import pytest

from pragmatiq_builder.cli import console
from pragmatiq_builder.cli.console import RichProgress, show, stderr

WAITING = """
import signal, sys, time
from pragmatiq_builder.cli.console import errors_as_exit_codes
with errors_as_exit_codes():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
"""


def told(capfd, work):
    with RichProgress() as progress:
        work(progress)
    return capfd.readouterr().err.splitlines()


def test_without_a_terminal_each_stage_is_a_line(capfd):
    def work(progress):
        progress.stage("Reading", 1200)
        progress.advance(1200)
        progress.stage("Drawing", None)

    assert told(capfd, work) == ["Reading: 1,200 to do", "Drawing"]


def test_without_a_terminal_a_long_stage_tells_how_far_it_is(capfd, monkeypatch):
    monkeypatch.setattr(console, "SECONDS_PER_LINE", 0)

    def work(progress):
        progress.stage("Training", 2000)
        progress.advance(1000, "loss 3.2")
        progress.advance(500)

    assert told(capfd, work) == [
        "Training: 2,000 to do",
        "Training: 1,000 of 2,000, loss 3.2",
        "Training: 1,500 of 2,000, loss 3.2",
    ]


def test_without_a_terminal_lines_are_rare_and_the_last_note_is_told(capfd):
    def work(progress):
        progress.stage("Training", 2000)
        for step in range(2000):
            progress.advance(1, f"loss {step}")

    assert told(capfd, work) == ["Training: 2,000 to do", "Training: 2,000 of 2,000, loss 1999"]


def test_lines_that_stay_are_neither_wrapped_nor_interpreted(capfd):
    line = "replaced " + "R[/x][red] :smile: " * 20 + "end"
    assert told(capfd, lambda progress: progress.say(line)) == [line]


def test_names_are_shown_as_they_are(capfd):
    show("R[/x] :smile:", {"a[/b]": "[red]c"}, as_json=False)
    stderr.print("next: pragmatiq serve R[/x]")
    captured = capfd.readouterr()
    assert "R[/x] :smile:" in captured.out
    assert "a[/b]" in captured.out
    assert "[red]c" in captured.out
    assert captured.err == "next: pragmatiq serve R[/x]\n"


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by SIGHUP"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_signal_cleans_up_and_ends_with_its_code(number, code, line):
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "cleaned up\n", f"{line}\n")


def test_a_hangup_that_nohup_ignores_stays_ignored():
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:
        process.stdout.readline()
        os.kill(process.pid, signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 143


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_second_signal_while_the_interpreter_ends_leaves_the_exit_code(number, code):
    program = f"""
import atexit, os
from pragmatiq_builder.cli.console import errors_as_exit_codes
atexit.register(os.kill, os.getpid(), {int(number)})
with errors_as_exit_codes():
    os.kill(os.getpid(), {int(number)})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, f"stopped by {number.name}\n")


def test_nested_values_are_lines_for_people_and_json_for_programs(capsys):
    values = {
        "rows": 12345,
        "tasks": {"churn": "scoring", "loan": ["a", 1000]},
        "checks": [{"what": "null", "rows": 3}],
        "settings": {"scorer": {"max_batch": {"value": "8", "by": "file"}}, "none": {}},
        "nothing": [],
    }
    show("Title", values, as_json=False)
    shown = capsys.readouterr().out
    assert not set("{}[]'") & set(shown)
    lines = [" ".join(line.replace("│", " ").split()) for line in shown.splitlines()]
    for line in ("rows 12,345", "tasks churn: scoring", "loan: a, 1,000", "checks what: null", "rows: 3",
                 "settings scorer:", "max_batch:", "value: 8", "none: none", "nothing none"):  # fmt: skip
        assert line in lines
    show("Title", values, as_json=True)
    assert json.loads(capsys.readouterr().out) == values
