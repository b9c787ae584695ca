"""What an export does with the repository that is there: replaced as a whole and said, or refused before the work."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from pragmatiq_builder.export import repository as repositories
from pragmatiq_builder.export.manifest import altered_files, read_manifest
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.runs import load_run
from pragmatiq_triton.errors import ArtifactError, ConfigError, OutputError
from tests.builder.counting import Counting
from tests.builder.export.heads_case import probe, run_with
from tests.conftest import UPSTREAM
from tests.mounts import tmpfs

GRAPHS = ("event_encoder.onnx", "profile_encoder.onnx", "history_encoder.onnx", "token_embedding.npy")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The graphs are not what this is about."""

    def write_graphs(network, folder):
        for name in GRAPHS:
            (folder / name).write_bytes(b"graph")

    monkeypatch.setattr(repositories, "export_graphs", write_graphs)


@pytest.fixture(scope="module")
def bpe():
    return load_run(UPSTREAM / "bpe" / "run")


def said(run, out):
    progress = Counting()
    export_repository(run, out, progress=progress)
    return progress.lines


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_older_export_of_the_same_run_is_replaced_without_a_word(bpe, tmp_path):
    out = tmp_path / "repository"
    assert said(bpe, out) == []
    old = read_manifest(out)
    # What the server's Python leaves.
    (out / "scorer/1/__pycache__").mkdir()
    (out / "scorer/1/__pycache__/model.pyc").touch()
    assert said(bpe, out) == []
    assert read_manifest(out) == old
    assert not (out / "scorer/1/__pycache__").exists()
    assert names(tmp_path) == ["repository"]


def test_another_run_and_lost_tasks_are_said_by_name(bpe, tmp_path):
    out = tmp_path / "repository"
    other = run_with(tmp_path / "other", "embed", probe())
    export_repository(other, out)
    first, second = other.tokenizer_hash[:8], bpe.tokenizer_hash[:8]
    assert said(bpe, out) == [
        f"{out}: the repository of run other (tokenizer {first}) was replaced by that of run run (tokenizer {second})",
        f"{out}: no longer answers churn, which the repository there before did",
    ]


def test_configs_that_were_changed_by_hand_are_said(bpe, tmp_path):
    out = tmp_path / "repository"
    export_repository(bpe, out)
    with (out / "scorer/config.pbtxt").open("a", encoding="utf-8") as file:
        file.write("# mine\n")
    assert said(bpe, out) == [
        f"{out}: scorer/config.pbtxt had been changed by hand; settings belong into a settings.yaml, which no export "
        "replaces"
    ]


@pytest.mark.parametrize("foreign", ["notes.txt", "scorer/2/model.py", "my_model/config.pbtxt"])
def test_files_that_export_did_not_write_are_not_lost(bpe, tmp_path, foreign):
    out = tmp_path / "repository"
    export_repository(bpe, out)
    (out / foreign).parent.mkdir(exist_ok=True)
    (out / foreign).write_text("mine", encoding="utf-8")
    with pytest.raises(ArtifactError, match=f"holds {foreign}, which export did not write"):
        export_repository(bpe, out)
    assert (out / foreign).read_text(encoding="utf-8") == "mine"
    assert altered_files(out) == []


@pytest.mark.parametrize("content", [None, "{}", '{"name": "a web page", "files": {}}', "not json", "[]"])
def test_a_folder_that_is_no_repository_is_refused(bpe, tmp_path, content):
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").touch()
    if content is not None:
        (out / "manifest.json").write_text(content, encoding="utf-8")
    before = names(out)
    with pytest.raises(ArtifactError, match="expected an empty folder or a model repository to replace"):
        export_repository(bpe, out)
    assert (names(out), names(tmp_path)) == (before, ["site"])


def test_a_repository_of_an_older_format_is_replaced(bpe, tmp_path):
    out = tmp_path / "repository"
    export_repository(bpe, out)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    (out / "manifest.json").write_text(json.dumps({**manifest, "format": 2, "tasks": ["churn"]}), encoding="utf-8")
    assert said(bpe, out) == []
    assert read_manifest(out).format == 3


def test_an_empty_folder_is_taken(bpe, tmp_path):
    (tmp_path / "repository").mkdir()
    export_repository(bpe, tmp_path / "repository")
    assert altered_files(tmp_path / "repository") == []


def test_a_live_repository_on_a_mount_point_is_refused_and_stays(bpe, tmp_path):
    export_repository(bpe, tmp_path / "made")
    with tmpfs(tmp_path / "live", "32m") as live:
        shutil.copytree(tmp_path / "made", live, dirs_exist_ok=True)
        with pytest.raises(ConfigError, match="is a mount point"):
            export_repository(bpe, live)
        assert altered_files(live) == []


def test_a_disk_without_room_is_refused_before_the_work(bpe, tmp_path):
    with tmpfs(tmp_path / "small", "100k") as small:
        with pytest.raises(ConfigError, match=r"takes about \d+\.\d MiB"):
            export_repository(bpe, small / "repository")
        assert names(small) == []


def test_a_disk_that_fills_up_is_one_line_and_the_old_one_stays(bpe, tmp_path, monkeypatch):
    def fill(network, folder):
        (folder / "event_encoder.onnx").write_bytes(bytes(32 << 20))

    with tmpfs(tmp_path / "small", "16m") as small:
        export_repository(bpe, small / "repository")
        monkeypatch.setattr(repositories, "export_graphs", fill)
        with pytest.raises(OutputError, match="No space left on device"):
            export_repository(bpe, small / "repository")
        assert altered_files(small / "repository") == []
        assert names(small) == ["repository"]


@pytest.mark.slow
def test_a_kill_at_any_moment_of_an_export_leaves_a_whole_repository_and_the_next_one_works(tmp_path):
    out = tmp_path / "repository"
    command = [sys.executable, "-m", "pragmatiq_builder.cli", "export", UPSTREAM / "bpe" / "run"]
    started = time.monotonic()
    subprocess.run([*command, "--out", out], check=True, capture_output=True)
    seconds = time.monotonic() - started
    for part in (0.3, 0.6, 0.9, 0.97, 1.0, 1.03):
        with subprocess.Popen(
            [*command, "--out", out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(part * seconds)
            process.send_signal(signal.SIGKILL)
        assert altered_files(out) == []
    subprocess.run([*command, "--out", out], check=True, capture_output=True)
    assert altered_files(out) == []
    assert names(tmp_path) == ["repository"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_in_an_export_leaves_the_old_one_and_nothing_else(bpe, tmp_path, number, code):
    out = tmp_path / "repository"
    export_repository(bpe, out)
    command = [sys.executable, "-m", "pragmatiq_builder.cli", "export", UPSTREAM / "bpe" / "run", "--out", out]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert "Writing the model repository" in process.stderr.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in err
    assert (altered_files(out), names(tmp_path)) == ([], ["repository"])
