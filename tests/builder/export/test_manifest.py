import shutil

import msgspec
import pytest

from pragmatiq_builder.export.manifest import FORMAT, altered_files, read_manifest
from pragmatiq_triton.errors import ArtifactError


def test_the_text_encoder_is_the_one_behind_the_table_of_known_strings(repository):
    manifest = read_manifest(repository)
    assert (manifest.text_encoder_name is None) == (manifest.variant == "bpe")
    hashed = {"encoder": "table", "fallback": {"encoder": "hash", "fallback": None}}
    assert msgspec.structs.replace(manifest, text_encoder=hashed).text_encoder_name == "hash"
    alone = {"encoder": "table", "fallback": None}
    assert msgspec.structs.replace(manifest, text_encoder=alone).text_encoder_name == "table"


def test_an_altered_artifact_is_found(repository, tmp_path):
    copy = shutil.copytree(repository, tmp_path / "copy")
    assert altered_files(copy) == []
    (copy / "scorer" / "1" / "model.py").write_text("import this\n", encoding="utf-8")
    (copy / "tokenizer" / "1" / "tokenizer.hash").unlink()
    (copy / "MODEL_CARD.md").write_text("# Perfect\n", encoding="utf-8")
    assert altered_files(copy) == ["MODEL_CARD.md", "scorer/1/model.py", "tokenizer/1/tokenizer.hash"]


def test_no_manifest_no_repository(tmp_path):
    with pytest.raises(ArtifactError, match="pragmatiq export"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", f'{{"format": {FORMAT}}}'])
def test_a_damaged_manifest_is_no_repository(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match="pragmatiq export"):
        read_manifest(tmp_path)


def test_another_format_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": 1, "tasks": []}', encoding="utf-8")
    with pytest.raises(ArtifactError, match=rf"format 1, expected {FORMAT}; export the run again"):
        read_manifest(tmp_path)
