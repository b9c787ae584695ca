"""Every command, at every path that it takes, over inputs that a stranger's machine may bring.

None ends in a traceback: each ends with a documented exit code and, if it fails, a line that names what was wrong.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from pragmatiq_builder.cli.app import app, main
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.raw.records import write_records
from pragmatiq_builder.synth import generate
from tests.builder.export.heads_case import linear_head, run_with
from tests.builder.raw.layouts import base, put, write_tables
from tests.conftest import UPSTREAM


def commands(app: typer.Typer, before: str = "") -> dict[str, Callable[..., Any]]:
    """Every command by its words: ``info``, ``ingest run``."""
    found = {
        f"{before}{command.name or command.callback.__name__}": command.callback
        for command in app.registered_commands
        if command.callback
    }
    for group in app.registered_groups:
        if group.typer_instance:
            found |= commands(group.typer_instance, f"{before}{group.name} ")
    return found


COMMANDS = commands(app)
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6}

LINES: dict[str, tuple[str, ...]] = {
    "synth": ("--out OUT --users 2",),
    "ingest run": ("INGEST --out OUT --rejected REJECTED --report REPORT",),
    "ingest init": ("TABLE --out OUT",),
    "validate": ("RAW --tokenizer-dir TOKENIZER",),
    "records": ("RAW --out OUT --tokenizer-dir TOKENIZER",),
    "tokenize": (
        "RAW --out OUT --config CONFIG",
        "RAW --out OUT --tokenizer-dir TOKENIZER",
        "RAW --out OUT --config NEMOTRON --text-model MODEL",
    ),
    "pretrain": (
        "TOK --name r --model-size nano --max-steps 1 --runs-root OUT --config CONFIG",
        "TOK --name r --model-size nano --max-steps 1 --runs-root OUT --init-from RUN",
    ),
    "export": (
        "RUN --out OUT",
        "EMBED --out OUT --text-vectors VECTORS",
        "RUN --out OUT --text-model MODEL",
        "RUN --out OUT --precision int8 --data TOK --label t=LABEL",
    ),
    "finetune": (
        "TOK --run RUN --label LABEL --task new --config CONFIG",
        "TOK --run RUN --label LABEL --task new --method hybrid --features FEATURES",
    ),
    "evaluate": (
        "TOK --run RUN --label LABEL --task t --out OUT --replicates 40",
        "TOK --run RUN --label LABEL --task t --rows ROWS --baseline-rows BASELINE --replicates 40",
        "TOK --run RUN --label LABEL --task t --features FEATURES --replicates 40",
    ),
    "warm": ("REPOSITORY RAW --cache-folder OUT --settings SETTINGS", "REPOSITORY RECORDS --cache-folder OUT"),
    "serve": (
        "REPOSITORY --server-env ENV --http-port 0 --grpc-port 0 --cache-folder OUT --log-file LOG --settings SETTINGS",
    ),
    "api-key": ("caller --file KEYS",),
    "predict": (
        "RAW --repository REPOSITORY --out OUT --at LABEL --processes 1",
        "RECORDS --repository REPOSITORY --out OUT --rejected REJECTED --settings SETTINGS --processes 1",
        "RAW --repository REPOSITORY --out OUT --at LABEL --features FEATURES --processes 1",
    ),
    "doctor": ("--need train",),
    "score": (
        "RECORDS --url 127.0.0.1:9 --timeout 0.2 --out OUT --rejected REJECTED",
        "RECORDS --url 127.0.0.1:9 --timeout 0.2 --ca CERTIFICATE --certificate CERTIFICATE --key CERTIFICATE",
    ),
    "runs list": ("--runs-root RUNS",),
    "runs compare": ("RUN OLDER --replicates 40 --report REPORT",),
    "info": ("RUN", "TOK", "REPOSITORY --settings SETTINGS"),
    "image": (
        "--repository REPOSITORY --source SOURCE --base cpu",
        "--extras nemotron --text-model-folder MODEL --source SOURCE",
    ),
}
"""What each command is given, paths in capitals: those are replaced by something else, one after the other."""


HEAVY = {"evaluate", "export", "image", "predict", "pretrain", "warm"}
"""They load networks or copy much: slow tests."""


def slow_where_heavy(*values: str) -> Any:
    """The parameters of a case, whose command comes first."""
    return pytest.param(*values, marks=[pytest.mark.slow] if values[0] in HEAVY else [], id=f"{values[0]} {values[-1]}")


def cases() -> list[tuple[str, str, str]]:
    """Command, its words, and each path in them; one that was there with the same command before is left out."""
    found: dict[tuple[str, str], str] = {}
    for command, lines in LINES.items():
        for line in lines:
            for place in re.findall(r"\b[A-Z]{3,}\b", line):
                found.setdefault((command, place), line)
    return [(command, line, place) for (command, place), line in found.items()]


def test_no_command_and_no_path_is_forgotten() -> None:
    assert set(LINES) == set(COMMANDS)
    for name, command in COMMANDS.items():
        words = " ".join(LINES[name]).split()
        hints = get_type_hints(command, include_extras=True)
        paths = {parameter: hint for parameter, hint in hints.items() if "Path" in str(hint)}
        for parameter, hint in paths.items():
            is_argument = "ArgumentInfo" in str(hint)
            option = f"--{parameter.replace('_', '-')}"
            assert is_argument or option in words, f"give {option} of {name} in LINES"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Something right for every place."""
    folder = tmp_path_factory.mktemp("hostile")
    generate(folder / "raw", 24, 0)
    fitted = {"settings": {}, "cutoff_ts": None, "classifier": "linear", "calibrator": "platt"}
    run = run_with(folder / "run", "bpe", linear_head("t", "probe", "event", **fitted))
    run_with(folder / "runs" / "older", "bpe")
    tokenize(folder / "raw", folder / "tok", tokenizer_dir=run.path / "tokenizer")
    labels = folder / "labels.parquet"
    events = pq.read_table(folder / "raw" / "events.parquet", columns=["user_id", "ts"])
    some = events.take(pa.array(np.random.default_rng(0).choice(len(events), 300, replace=False)))
    pq.write_table(some.append_column("label", pa.array(np.arange(300) % 2)), labels)
    pq.write_table(some.append_column("score", pa.array(np.arange(300) / 300)), folder / "own-scores.parquet")
    pq.write_table(some.append_column("bureau", pa.array(np.arange(300) / 300)), folder / "own-features.parquet")
    export_repository(run, folder / "repository")
    write_records(folder / "raw", folder / "records.jsonl", 3)
    (folder / "config.yaml").write_text("{}\n", encoding="utf-8")
    (folder / "ingest.yaml").write_text(
        f"events: [{{table: {folder}/raw/events.parquet, source: card, user: user_id, time: ts, fields: [fields]}}]",
        encoding="utf-8",
    )
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}", encoding="utf-8")
    return {
        "RAW": folder / "raw",
        "TABLE": folder / "raw" / "events.parquet",
        "INGEST": folder / "ingest.yaml",
        "TOK": folder / "tok",
        "RUNS": folder / "runs",
        "OLDER": folder / "runs" / "older",
        "RUN": folder / "run",
        "TOKENIZER": run.path / "tokenizer",
        "REPOSITORY": folder / "repository",
        "RECORDS": folder / "records.jsonl",
        "LABEL": labels,
        "BASELINE": folder / "own-scores.parquet",
        "FEATURES": folder / "own-features.parquet",
        "CONFIG": folder / "config.yaml",
        "NEMOTRON": Path(__file__).parents[3] / "configs" / "data" / "tokenizer_nemotron.yaml",
        "EMBED": UPSTREAM / "embed" / "run",
        "VECTORS": UPSTREAM / "embed" / "text_vectors.npz",
        "MODEL": folder / "model",
        "ENV": folder / "model",
        "CERTIFICATE": folder / "config.yaml",
        "SETTINGS": folder / "config.yaml",
        "SOURCE": Path(__file__).parents[3],
    }


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, good: dict[str, Path]
) -> Callable[..., Ended]:
    """Runs a command in this process, as its script would; what is no documented end fails the test here."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "500")

    def run(command: str, line: str, **places: Path) -> Ended:
        paths = {**good, **{name: tmp_path / name.lower() for name in WRITTEN}, **places}
        words = [re.sub(r"\b[A-Z]{3,}\b", lambda at: str(paths[at[0]]), word) for word in line.split()]
        monkeypatch.setattr(sys, "argv", ["pragmatiq", *command.split(), *words])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert code in DOCUMENTED
        return Ended(int(str(code)), out, err)

    return run


def garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(3_000))


def damaged_copy(original: Path, path: Path) -> None:
    """Everything that is there, its files cut in half."""
    if original.is_dir():
        shutil.copytree(original, path)
        for file in path.rglob("*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif original.exists():
        path.write_bytes(original.read_bytes()[: original.stat().st_size // 2])


def emptied_copy(original: Path, path: Path) -> None:
    """Everything that is there, its files empty."""
    if original.is_dir():
        shutil.copytree(original, path)
        for file in path.rglob("*"):
            if file.is_file():
                file.write_bytes(b"")


def filled_copy(original: Path, path: Path) -> None:
    """Everything that is there, its files garbage."""
    if original.is_dir():
        shutil.copytree(original, path)
        for file in path.rglob("*"):
            if file.is_file():
                garbage(file)


def deep_yaml(path: Path) -> None:
    path.write_text("[" * 5_000, encoding="utf-8")


NOTHING: dict[str, Callable[[Path, Path], Any]] = {
    "missing": lambda good, path: None,
    "below a file": lambda good, path: path.parent.write_text("x", encoding="utf-8"),
    "a link to itself": lambda good, path: path.symlink_to(path),
}
FILES: dict[str, Callable[[Path, Path], Any]] = {
    "an empty folder": lambda good, path: path.mkdir(),
    "an empty file": lambda good, path: path.write_bytes(b""),
    "garbage": lambda good, path: garbage(path),
    "a text": lambda good, path: path.write_text("a: [1, 2\nb: \tx", encoding="utf-8"),
    "deep brackets": lambda good, path: deep_yaml(path),
    "cut in half": damaged_copy,
}
FOLDERS: dict[str, Callable[[Path, Path], Any]] = {
    "an empty folder": lambda good, path: path.mkdir(),
    "garbage": lambda good, path: garbage(path),
    "cut in half": damaged_copy,
    "emptied": emptied_copy,
    "filled with garbage": filled_copy,
}


WRITTEN = ("OUT", "LOG", "REJECTED", "REPORT", "KEYS", "ROWS")


def hostile_to(place: str, good: dict[str, Path]) -> dict[str, Callable[[Path, Path], Any]]:
    """What may be there in place of the right thing, but for what would do."""
    if place in WRITTEN:
        return {**{name: NOTHING[name] for name in ("below a file", "a link to itself")}, "garbage": FOLDERS["garbage"]}
    if good[place].is_file():
        files = dict(FILES)
        if place in ("CONFIG", "NEMOTRON", "RECORDS", "SETTINGS"):
            # No settings, or half of them, are settings; no records are none.
            del files["an empty file"], files["cut in half"]
        return {**NOTHING, **files}
    if place == "RUNS":
        # A folder without runs has none.
        return {**NOTHING, **{name: make for name, make in FOLDERS.items() if name != "an empty folder"}}
    return {**NOTHING, **(FOLDERS if place != "SOURCE" else {"an empty folder": FOLDERS["an empty folder"]})}


@pytest.mark.parametrize(("command", "line", "place"), [slow_where_heavy(*case) for case in cases()])
def test_hostile_paths(
    run: Callable[..., Ended], good: dict[str, Path], tmp_path: Path, command: str, line: str, place: str
) -> None:
    wrong = []
    for name, make in hostile_to(place, good).items():
        folder = tmp_path / name.replace(" ", "-")
        # As a name in rich's markup it would be a tag.
        path = folder / "R[" / "x] ü"
        path.parent.parent.mkdir()
        if name != "below a file":
            path.parent.mkdir()
        make(good.get(place, path), path)
        try:
            outputs = {written: folder / written.lower() for written in WRITTEN}
            ended = run(command, line, **{**outputs, place: path})
        except Exception as error:
            wrong.append(f"{name}: {_where(error)}: {error!r:.300}")
            continue
        if ended.code == 0:
            # A file to write may be there.
            if (command, place) not in (("records", "OUT"), ("ingest run", "REPORT"), ("runs compare", "REPORT")):
                wrong.append(f"{name}: taken: {ended}")
        elif not any(named in ended.err + ended.out for named in names_of(path, command)):
            wrong.append(f"{name}: not named: {ended}")
    assert wrong == []


OTHERS = {
    "evaluate": ("head.json",),
    "export": ("--text-model",),
    "image": ("no Docker engine",),
    "score": ("127.0.0.1:9",),
    "serve": ("Python environment",),
}
"""What a command may find wrong before the path: here are no engine, no server and only a made-up head."""


def names_of(path: Path, command: str) -> tuple[str, ...]:
    """What a line may name: the path, the file in its way, or what was wrong before."""
    return (path.name, str(path.parent), *OTHERS.get(command, ()))


def _where(error: Exception) -> str:
    """The innermost line of ours."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}"


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of its own at ``folder``; needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode:
        pytest.skip("only root may mount a file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


WRITERS = [slow_where_heavy(command, line) for command, line, place in cases() if place == "OUT"]


@pytest.mark.parametrize(("command", "line"), WRITERS)
def test_a_full_disk_is_one_line(run: Callable[..., Ended], tmp_path: Path, command: str, line: str) -> None:
    with mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=16k", "tmpfs") as full:
        for out in (full / "out", full) if command not in ("predict", "records") else (full / "out",):
            ended = run(command, line, OUT=out)
            if command in ("serve", "score", "evaluate", "ingest init"):
                # They fail before they write, or write less than the disk has.
                continue
            assert ended.code in (1, 2, 4), ended
            assert "full" in ended.err or "No space" in ended.err, ended
            assert len([text for text in ended.err.splitlines() if text.startswith("error")]) == 1, ended


@pytest.mark.parametrize(("command", "line"), WRITERS)
def test_a_read_only_folder_is_one_line(run: Callable[..., Ended], tmp_path: Path, command: str, line: str) -> None:
    with mounted(tmp_path / "ro", "-t", "tmpfs", "-o", "ro", "tmpfs") as read_only:
        ended = run(command, line, OUT=read_only / "out")
        assert ended.code != 0
        if command not in ("serve", "score", "evaluate"):
            assert str(read_only) in ended.err, ended
            assert len([text for text in ended.err.splitlines() if text.startswith("error")]) == 1


SCRIPT = Path(sys.executable).parent / "pragmatiq"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $P is the command."""
    clean = {name: value for name, value in os.environ.items() if name not in environment}
    set_here = {name: value for name, value in environment.items() if value}
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**clean, "P": str(SCRIPT), **set_here},
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("$P info --json > /dev/full", 1, "standard output: No space left on device"),
        ("$P info > /dev/full", 1, "standard output: No space left on device"),
        ("set -o pipefail; $P info --json | true; exit ${PIPESTATUS[0]}", 1, "standard output: Broken pipe"),
        ("set -o pipefail; $P validate RAW | true; exit ${PIPESTATUS[0]}", 1, "standard output: Broken pipe"),
        ("$P info >&-", 0, ""),
        ("$P info nowhere 2>&- || exit 7", 7, ""),
        ("$P info >&- 2>&- <&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written_is_one_line(good: dict[str, Path], line: str, code: int, said: str) -> None:
    ended = shell(line.replace("RAW", shlex.quote(str(good["RAW"]))))
    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("options", ["", " --json"])
def test_a_terminal_without_unicode_gets_escapes(tmp_path: Path, encoding: str, options: str) -> None:
    data = tmp_path / "Kunden-日本-ü"
    tables = base()
    tables["events"] = put(tables["events"], "source", ["café 日本"] * 5)
    write_tables(data, tables)
    ended = shell(f'"$P" validate {shlex.quote(str(data))}{options}', PYTHONIOENCODING=encoding)
    assert ended.returncode == 0, ended.stderr
    assert "caf" in ended.stdout
    if options:
        assert json.loads(ended.stdout)["sources"] == {"café 日本": 5}


@pytest.mark.parametrize("environment", [{"HOME": ""}, {"HOME": "/nonexistent"}, {"LC_ALL": "C"}, {"TERM": "dumb"}])
def test_poor_environments_are_enough(good: dict[str, Path], tmp_path: Path, environment: dict[str, str]) -> None:
    ended = shell(f'"$P" tokenize {good["RAW"]} --out {tmp_path / "tök"} --json', **environment)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr


def test_a_folder_for_temporary_files_that_runs_nothing_is_enough(good: dict[str, Path], tmp_path: Path) -> None:
    with mounted(tmp_path / "noexec", "-t", "tmpfs", "-o", "noexec", "tmpfs") as folder:
        line = f'"$P" export {UPSTREAM / "bpe" / "run"} --out {tmp_path / "repository"} --json'
        ended = shell(line, TMPDIR=str(folder))
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
