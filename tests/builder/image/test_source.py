import subprocess

import pytest

from pragmatiq_builder.image.source import find_source, source_revision, source_version
from pragmatiq_triton.errors import ArtifactError, ConfigError
from tests.builder.cli.conftest import ROOT

INSTALLED = "lib/site/pragmatiq_builder/image/source.py"


def test_the_checkout_that_this_runs_from_is_found(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_source() == ROOT


def test_without_a_checkout_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("pragmatiq_builder.image.source.__file__", str(tmp_path / INSTALLED))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"^no docker/Dockerfile in {tmp_path}/lib or {tmp_path}: .* --source$"):
        find_source()
    with pytest.raises(ConfigError, match="--source"):
        find_source(tmp_path)


def test_the_current_folder_is_a_checkout(monkeypatch, checkout, tmp_path):
    monkeypatch.setattr("pragmatiq_builder.image.source.__file__", str(tmp_path / INSTALLED))
    monkeypatch.chdir(checkout)
    assert find_source() == checkout


def test_version(checkout):
    assert source_version(checkout) == "1.2.3"
    (checkout / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"pyproject\.toml: expected the project's version"):
        source_version(checkout)


def test_revision_is_the_commit_and_whether_files_differ(checkout):
    assert source_revision(checkout) == "unknown"

    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *identity, *words], cwd=checkout, capture_output=True, text=True, check=True)

    git("init")
    assert source_revision(checkout) == "unknown"
    git("add", "pyproject.toml")
    git("commit", "-m", "x")
    git("tag", "-a", "v1", "-m", "x")
    head = git("rev-parse", "HEAD").stdout.strip()
    assert source_revision(checkout) == head
    (checkout / "pyproject.toml").write_text("", encoding="utf-8")
    assert source_revision(checkout) == f"{head}-dirty"


def test_revision_is_not_that_of_a_repository_around_it(checkout):
    subprocess.run(["git", "init"], cwd=checkout.parent, capture_output=True, check=True)
    assert source_revision(checkout) == "unknown"


def test_revision_without_git(checkout, monkeypatch, tmp_path):
    (checkout / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source_revision(checkout) == "unknown"
