"""The supervisor over stand-ins of a server, without a gateway; the real ones are in test_entry_point.py."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SUPERVISE = """
import sys, tempfile
from pathlib import Path
from pragmatiq_triton.container.supervisor import supervise
from pragmatiq_triton.errors import PragmatiqError
try:
    with tempfile.TemporaryDirectory() as folder:
        supervise([sys.executable, "-u", "-c", sys.argv[1]], float(sys.argv[2]), Path(folder))
except PragmatiqError as error:
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(error.exit_code)
"""
WAITS = "import signal, sys\nprint('up')\n"


def supervised(server: str, drain_seconds: float = 30) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, server, str(drain_seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        cwd=Path(__file__).parents[3],
    )


def send_when_ready(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    assert process.stdout is not None
    while process.stdout.readline() != "ready\n":
        pass
    process.send_signal(number)


def test_the_log_is_repeated_and_its_reason_comes_last() -> None:
    line = "E0102 03:04:05.700001 42 model_lifecycle.cc:642] \"failed to load 'scorer' version 1: no graph\""
    process = supervised(f"print({line!r}); print('error: creating server: Internal'); raise SystemExit(1)")
    output, _ = process.communicate(timeout=20)
    assert output.splitlines() == [
        line,
        "error: creating server: Internal",
        "error: the Triton server ended with exit code 1:",
        "failed to load 'scorer' version 1: no graph",
    ]
    assert process.returncode == 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_reaches_the_server_whose_end_is_a_good_one(number: signal.Signals) -> None:
    handler = "def stop(*_): print('draining'); sys.exit(0)\n"
    process = supervised(f"{WAITS}{handler}signal.signal({int(number)}, stop)\nprint('ready')\nsignal.pause()")
    send_when_ready(process, number)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("draining\n", 0)


def test_new_requests_are_refused_before_the_server_is_told() -> None:
    handler = "def stop(*_): print(os.path.exists(os.environ['PRAGMATIQ_DRAIN_FILE'])); sys.exit(0)\n"
    process = supervised(f"{WAITS}import os\n{handler}signal.signal(15, stop)\nprint('ready')\nsignal.pause()")
    send_when_ready(process, signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("True\n", 0)


@pytest.mark.parametrize(("under_way", "code"), [(0, 0), (2, 6)])
def test_connections_that_stay_open_are_no_failure_but_requests_given_up_are(under_way: int, code: int) -> None:
    words = f"Timeout 0: Found {under_way} model versions that have in-flight inferences"
    handler = (
        f"def stop(*_): print({words!r}); print('failed to stop server: Exit timeout expired.'); signal.sigwait([1])\n"
    )
    process = supervised(f"{WAITS}{handler}signal.signal(15, stop)\nprint('ready')\nsignal.pause()")
    send_when_ready(process, signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert words in output
    assert process.returncode == code


def test_a_server_that_does_not_stop_is_killed() -> None:
    process = supervised(f"{WAITS}signal.signal(15, signal.SIG_IGN)\nprint('ready')\nsignal.sigwait([1])", -9.5)
    send_when_ready(process, signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert "ended with SIGKILL" in output
    assert process.returncode == 6


def test_a_server_that_ends_well_by_itself_is_an_error_too() -> None:
    process = supervised("print('bye')")
    output, _ = process.communicate(timeout=20)
    assert output == "bye\nerror: the Triton server ended with exit code 0:\nbye\n"
    assert process.returncode == 6


def test_a_server_that_crashed_names_the_signal() -> None:
    process = supervised("import os; os.kill(os.getpid(), 11)")
    output, _ = process.communicate(timeout=20)
    assert "the Triton server ended with SIGSEGV" in output
    assert process.returncode == 6


def test_what_is_no_text_is_repeated_as_it_is() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SUPERVISE, r"import sys; sys.stdout.buffer.write(b'\xff\xfe\n'); sys.exit(3)", "30"],
        capture_output=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout == b"\xff\xfe\n"
    assert b"ended with exit code 3" in process.stderr
