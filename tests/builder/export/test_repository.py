import json
import shutil

import msgspec
import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from builder.export.configs import template_folder
from builder.export.repository import altered_files, export_repository, read_manifest
from builder.runs import load_run
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.records import RecordLimits
from pragmatiq_triton.text_encoders import TextEncoderSpec
from tests.conftest import UPSTREAM


def config_of(repository, model):
    text = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_manifest_says_what_is_there(repository, run, variant):
    manifest = read_manifest(repository)
    assert (manifest.run, manifest.origin, manifest.variant) == ("run", "upstream", variant)
    assert manifest.tokenizer_hash == run.tokenizer_hash
    assert (manifest.text_encoder is None) == (variant == "bpe")
    # The server's Python leaves compiled models behind, whatever it is told.
    files = [path for path in repository.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert set(manifest.files) == {str(path.relative_to(repository)) for path in files} - {"manifest.json"}
    assert altered_files(repository) == []


def test_an_altered_artifact_is_found(repository, tmp_path):
    copy = shutil.copytree(repository, tmp_path / "copy")
    (copy / "scorer" / "1" / "model.py").write_text("import this\n", encoding="utf-8")
    (copy / "tokenizer" / "1" / "tokenizer.hash").unlink()
    assert altered_files(copy) == ["scorer/1/model.py", "tokenizer/1/tokenizer.hash"]


def test_configs_fit_the_variant(repository, variant):
    """Every tensor of a step is one that the step's model declares, with one producer."""
    models = sorted(path.name for path in repository.iterdir() if path.is_dir())
    assert models == sorted(["scorer", "scoring", "tokenizer"] + (["text_embedder"] if variant == "embed" else []))
    ensemble = config_of(repository, "scoring")
    produced = {tensor.name for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        config = config_of(repository, step.model_name)
        assert {tensor.name for tensor in config.input} == set(step.input_map)
        assert {tensor.name for tensor in config.output} == set(step.output_map)
        assert set(step.input_map.values()) <= produced
        produced |= set(step.output_map.values())
        assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
        assert config.max_batch_size == ensemble.max_batch_size
        assert all(tensor.allow_ragged_batch or list(tensor.dims) == [1] for tensor in config.input)
    assert {tensor.name for tensor in ensemble.output} <= produced


def test_the_templates_state_the_limits_that_the_code_has():
    text = (template_folder() / "tokenizer" / "config.pbtxt").read_text(encoding="utf-8")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    stated = {name: int(value.string_value) for name, value in config.parameters.items()}
    assert stated == msgspec.structs.asdict(RecordLimits())


def test_models_are_thin():
    for path in template_folder().glob("*/1/model.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


def test_an_older_repository_is_replaced_and_nothing_else(run, tmp_path):
    out = tmp_path / "repository"
    (out / "leftover").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="choose another"):
        export_repository(run, out)
    assert (out / "leftover").is_dir()
    (out / "manifest.json").write_text("{}", encoding="utf-8")
    export_repository(run, out)
    assert not (out / "leftover").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def test_an_export_that_fails_leaves_the_older_one(tmp_path, monkeypatch):
    out = tmp_path / "repository"
    out.mkdir()
    (out / "manifest.json").write_text("{}", encoding="utf-8")
    run = load_run(UPSTREAM / "bpe" / "run")
    with pytest.raises(ArtifactError, match="a BPE run has no text vectors"):
        export_repository(run, out, text_vectors=UPSTREAM / "embed" / "text_vectors.npz")
    assert [path.name for path in tmp_path.rglob("*")] == ["repository", "manifest.json"]


def test_the_same_run_exports_to_the_same_bytes(run, repository, variant, tmp_path):
    vectors = UPSTREAM / "embed" / "text_vectors.npz" if variant == "embed" else None
    again = export_repository(run, tmp_path / "again", text_vectors=vectors)
    assert again == read_manifest(repository)


def test_the_encoder_behind_the_table_is_the_run_s(tmp_path):
    run = load_run(UPSTREAM / "embed" / "run")
    export_repository(run, tmp_path / "repository")
    spec = json.loads((tmp_path / "repository" / "text_embedder" / "1" / "text_encoder.json").read_bytes())
    read = msgspec.convert(spec, TextEncoderSpec)
    assert (read.encoder, read.fallback.encoder, read.fallback.dim) == ("table", "upstream-hash", 64)


def test_text_vectors_of_another_width_are_refused(tmp_path):
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, texts=np.array('["a"]'), vectors=np.zeros((1, 32), np.float32))
    with pytest.raises(ArtifactError, match=r"64 numbers.*\[1, 32\]"):
        export_repository(load_run(UPSTREAM / "embed" / "run"), tmp_path / "out", text_vectors=wrong)


def test_no_manifest_no_repository(tmp_path):
    with pytest.raises(ArtifactError, match="pragmatiq export"):
        read_manifest(tmp_path)
