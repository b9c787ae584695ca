"""A repository that is not what its manifest says is not served, and is told by the names of its files."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.model_folders import model_names
from pragmatiq_triton.verification import verify

SKIP = "--skip-verification"


@pytest.fixture
def copy(repository, tmp_path):
    # A server of another test may have left its compiled code there.
    return shutil.copytree(repository, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))


def replace_in(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_repository_as_it_was_exported_is_verified(copy):
    found = verify(copy, SKIP)
    listed = [path for path in copy.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert (found.files, found.bytes) == (len(listed), sum(path.stat().st_size for path in listed))
    assert str(found).startswith(f"verified: {found.files} files, ")


def test_four_flipped_bytes_are_found(copy):
    path = copy / "scorer" / "1" / "history_encoder.onnx.data"
    content = bytearray(path.read_bytes())
    content[100:104] = (byte ^ 0xFF for byte in content[100:104])
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"changed: scorer/1/history_encoder\.onnx\.data\..*--skip-verification"):
        verify(copy, SKIP)


def test_changed_missing_and_foreign_files_are_all_named(copy):
    (copy / "tokenizer" / "1" / "tokenizer.json").write_text("{}", encoding="utf-8")
    (copy / "MODEL_CARD.md").unlink()
    (copy / "scorer" / "2").mkdir()
    (copy / "scorer" / "2" / "heads.onnx").write_bytes(b"")
    (copy / "scorer" / "1" / "heads.onnx").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError) as caught:
        verify(copy, SKIP)
    for words in (
        "changed: tokenizer/1/tokenizer.json;",
        "missing: MODEL_CARD.md;",
        "not listed: scorer/1/heads.onnx, scorer/2/heads.onnx.",
    ):
        assert words in str(caught.value)


def test_what_python_compiles_is_not_foreign(copy):
    compiled = copy / "scorer" / "1" / "__pycache__"
    compiled.mkdir(exist_ok=True)
    (compiled / "model.cpython-311.pyc").write_bytes(b"")
    assert verify(copy, SKIP)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("scorer/2/", "not listed: scorer/2/."),
        ("scoring/2/", "not listed: scoring/2/."),
        ("scorer/1/__pycache__/inner/", "not listed: scorer/1/__pycache__/inner/."),
        ("new/", "not listed: new/."),
        ("__pycache__/config.pbtxt", "not listed: __pycache__/config.pbtxt."),
        ("scorer/__pycache__/model.cpython-311.pyc", "not listed: scorer/__pycache__/model.cpython-311.pyc."),
        ("scorer/2/__pycache__/model.cpython-311.pyc", "not listed: scorer/2/__pycache__/model.cpython-311.pyc."),
        ("scorer/1/__pycache__/model.py", "not listed: scorer/1/__pycache__/model.py."),
        ("scorer/lost+found/", "not listed: scorer/lost+found/."),
    ],
)
def test_what_triton_would_take_for_a_version_or_a_model_is_named(copy, made, named):
    path = copy / made
    if made.endswith("/"):
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    with pytest.raises(ArtifactError, match=re.escape(named)):
        verify(copy, SKIP)


def test_the_empty_folder_of_an_ensemble_has_to_be_there(copy):
    (copy / "scoring" / "1").rmdir()
    with pytest.raises(ArtifactError, match=r"missing: scoring/1/\."):
        verify(copy, SKIP)


def test_the_lost_and_found_of_a_volume_is_passed_over(copy):
    (copy / "lost+found").mkdir(mode=0o700)
    (copy / "lost+found" / "#12").write_bytes(b"")
    assert verify(copy, SKIP)
    assert "lost+found" not in model_names(copy)


def test_a_folder_that_cannot_be_looked_into_is_named(copy, monkeypatch):
    opened = os.scandir

    def refuse(path):
        if Path(path).name == "1" and Path(path).parent.name == "scorer":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ArtifactError, match=r"scorer/1: cannot be read: Permission denied"):
        verify(copy, SKIP)


def test_settings_in_a_config_are_refused_and_where_they_belong_is_told(copy):
    replace_in(copy / "scorer" / "config.pbtxt", '"268435456"', '"0"')
    replace_in(copy / "tokenizer" / "config.pbtxt", "count: 1", "count: 2")
    with pytest.raises(ArtifactError) as raised:
        verify(copy, SKIP)
    assert "changed: scorer/config.pbtxt, tokenizer/config.pbtxt." in str(raised.value)
    assert "in a settings.yaml: scorer: {event_cache_bytes: 0}; tokenizer: {instances: 2}." in str(raised.value)


def test_a_comment_in_a_config_is_a_change(copy):
    replace_in(copy / "scorer" / "config.pbtxt", "name:", "# ours\nname:")
    with pytest.raises(ArtifactError, match=r"changed: scorer/config\.pbtxt\. Nothing was served"):
        verify(copy, SKIP)


def test_a_config_of_other_tensors_or_tasks_is_refused(copy):
    replace_in(copy / "scorer" / "config.pbtxt", 'string_value: "[]"', 'string_value: "[\\"fraud\\"]"')
    with pytest.raises(ArtifactError, match=r"changed: scorer/config\.pbtxt\. Nothing"):
        verify(copy, SKIP)


def test_a_repository_of_before_whose_config_was_changed_is_refused(copy):
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    del manifest["configs"]
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert verify(copy, SKIP)
    replace_in(copy / "scorer" / "config.pbtxt", '"268435456"', '"0"')
    with pytest.raises(ArtifactError, match=r"changed: scorer/config\.pbtxt.*export the run again"):
        verify(copy, SKIP)


def test_a_repository_without_a_manifest_is_refused_with_the_way_out(copy):
    (copy / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json.*nothing can be verified.*--skip-verification"):
        verify(copy, SKIP)


def test_it_stops_when_it_is_told_to(copy):
    assert verify(copy, SKIP, stopping=lambda: True) is None


def test_a_file_that_cannot_be_read_is_named(copy, monkeypatch):
    opened = Path.open

    def refuse(self, *arguments, **options):
        if self.name == "MODEL_CARD.md":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ArtifactError, match=r"MODEL_CARD\.md: cannot be read: Permission denied"):
        verify(copy, SKIP)
