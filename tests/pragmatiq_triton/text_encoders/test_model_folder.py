import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.text_encoders.model_folder import check_revision, folder_revision, hub_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name in ("config.json", "model.safetensors", "tokenizer.json", "code/model.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content of {name}".encode())
    return folder


def test_the_revision_is_that_of_sha256sum(folder: Path) -> None:
    command = "find . -type f | sed 's|^./||' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    listed = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, encoding="utf-8", check=True)
    assert folder_revision(folder) == f"sha256:{listed.stdout.split()[0]}"


def test_a_copy_has_the_same_revision(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    (copy / "README.md").write_text("words", encoding="utf-8")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "download.json").write_text("{}", encoding="utf-8")
    assert folder_revision(copy) == folder_revision(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "code/model.py"])
def test_a_changed_renamed_or_missing_file_changes_the_revision(folder: Path, name: str) -> None:
    revisions = {folder_revision(folder)}
    (folder / name).write_bytes(b"other")
    revisions.add(folder_revision(folder))
    (folder / name).rename(folder / f"renamed{Path(name).suffix}")
    revisions.add(folder_revision(folder))
    (folder / f"renamed{Path(name).suffix}").unlink()
    revisions.add(folder_revision(folder))
    assert len(revisions) == 4


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no model files here"):
        folder_revision(tmp_path)


def test_a_pinned_revision_that_differs_names_both(tmp_path: Path) -> None:
    check_revision(tmp_path, None, "sha256:aa")
    check_revision(tmp_path, "sha256:aa", "sha256:aa")
    with pytest.raises(ArtifactError, match="sha256:aa, but sha256:bb"):
        check_revision(tmp_path, "sha256:bb", "sha256:aa")
    with pytest.raises(ConfigError, match="expected 'sha256:<hex>'"):
        check_revision(tmp_path, COMMIT, "sha256:aa")


@pytest.mark.parametrize("revision", [None, "main", "v2", COMMIT[:7], "sha256:" + "0" * 64])
def test_a_hub_model_needs_a_full_commit_hash(revision: str | None) -> None:
    with pytest.raises(ConfigError, match="40-digit commit hash"):
        hub_folder("owner/name", revision)


@pytest.mark.parametrize("model", ["/absent/folder", "../absent", "a/b/c", ""])
def test_what_is_neither_folder_nor_hub_id(model: str) -> None:
    with pytest.raises(ConfigError, match="neither an existing folder nor a hub id"):
        hub_folder(model, COMMIT)


def ask_for_a_hub_model(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"""
from pragmatiq_triton.errors import MissingDependencyError
from pragmatiq_triton.text_encoders.model_folder import hub_folder
try:
    print(hub_folder("owner/name", "{COMMIT}"))
except MissingDependencyError as error:
    print(error)
"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key.lower()}
    environment = kept | {"HF_HOME": str(home)} | environment
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, env=environment
    )


class Hub(HTTPServer):
    """A hub that answers every request with ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.status = status
        self.requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.requests.append(self.path)
            self.send_response(self.server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    server = Hub(request.param)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("hub", [401, 404, 503], indirect=True)
def test_a_hub_that_refuses_is_asked_once(hub: Hub, tmp_path: Path) -> None:
    done = ask_for_a_hub_model(tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}")
    assert len([path for path in hub.requests if "owner/name" in path]) == 1
    assert_says_the_way_out(done)


@pytest.mark.parametrize("environment", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}])
def test_no_network(environment: dict[str, str], tmp_path: Path) -> None:
    assert_says_the_way_out(ask_for_a_hub_model(tmp_path, **environment))


def assert_says_the_way_out(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "'owner/name'" in line
    assert "--text-model FOLDER" in line
    assert "Retrying" not in done.stderr


def test_a_cached_model_needs_no_network(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    done = ask_for_a_hub_model(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.stdout.strip() == str(snapshot), done.stderr
