import json

import msgspec
import numpy as np
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from pragmatiq_builder.export import repository as repositories
from pragmatiq_builder.export.configs import template_folder
from pragmatiq_builder.export.manifest import altered_files, read_manifest
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.heads.lora import merged
from pragmatiq_builder.network import to_tensors
from pragmatiq_builder.runs import load_run
from pragmatiq_triton.batch import collate
from pragmatiq_triton.errors import ArtifactError, NotFiniteError
from pragmatiq_triton.records import decode_record
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.serving.parameters import (
    ScorerParameters,
    TextEmbedderParameters,
    TokenizerParameters,
    read_parameters,
)
from pragmatiq_triton.text_encoders import TextEncoderSpec
from pragmatiq_triton.tokenizer import Tokenizer
from tests.builder.export.heads_case import lora, probe, run_with, some_adapters
from tests.conftest import RECORDS, UPSTREAM

OLD_MANIFEST = json.dumps({"format": 1, "run": "run", "tokenizer_hash": "0", "files": {}})


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


def test_models_fit_the_variant(repository, variant):
    models = sorted(path.name for path in repository.iterdir() if path.is_dir())
    assert models == sorted(["scorer", "scoring", "tokenizer"] + (["text_embedder"] if variant == "embed" else []))
    assert all(config_of(repository, model).name == model for model in models)


def test_without_heads_nothing_tells_of_them(repository):
    assert (read_manifest(repository).tasks, read_manifest(repository).heads) == ({"scoring": []}, [])
    assert not list(repository.rglob("heads.onnx"))
    assert not [path for path in repository.rglob("config.pbtxt") if "features" in path.read_text(encoding="utf-8")]


def test_a_lone_head_with_adapters_changes_the_network(tmp_path):
    run = run_with(tmp_path / "run", "bpe", lora(max_events=4))
    manifest = export_repository(run, tmp_path / "repository")
    (entry,) = manifest.heads
    assert manifest.tasks == {"scoring": ["loan"]}
    assert (entry.task, entry.method, entry.kind, entry.model) == ("loan", "lora", "event", "scoring")
    scorer = tmp_path / "repository" / "scorer"
    assert config_of(scorer.parent, "scorer").parameters["max_events"].string_value == "4"
    batch = collate([Tokenizer(run.vocabulary)(decode_record(RECORDS[11]))], [])
    with torch.inference_mode():
        adapted = merged(run.network, some_adapters(run))(to_tensors(batch, "cpu")).user_embedding
        plain = run.network(to_tensors(batch, "cpu")).user_embedding
    served = Scorer(scorer / "1").embed(batch).user_embedding
    np.testing.assert_allclose(served, adapted, rtol=0, atol=1e-5)
    assert np.abs(served - plain.numpy()).max() > 1e-2


def test_a_head_of_other_weights_stops_the_export(tmp_path):
    run = run_with(tmp_path / "run", "bpe", probe(weights_hash="0" * 64))
    with pytest.raises(ArtifactError, match="head churn: fitted with weights_hash 0000"):
        export_repository(run, tmp_path / "repository")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def stated(model):
    """The parameters that a template states."""
    text = (template_folder() / model / "config.pbtxt").read_text(encoding="utf-8")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    return {name: value.string_value for name, value in config.parameters.items()}


def test_the_templates_state_the_limits_that_the_code_has():
    kinds = {"tokenizer": TokenizerParameters, "text_embedder": TextEmbedderParameters, "scorer": ScorerParameters}
    for model, kind in kinds.items():
        assert read_parameters(kind, stated(model)) == kind()
    assert {"max_events", "record_cache_bytes"} <= stated("tokenizer").keys()
    assert {"device", "threads", "text_cache_bytes"} == stated("text_embedder").keys()
    assert {"threads", "event_cache_bytes"} <= stated("scorer").keys()


def test_models_are_thin():
    for path in template_folder().glob("*/1/model.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


def test_an_export_that_fails_leaves_the_older_one(tmp_path, monkeypatch):
    out = tmp_path / "repository"
    out.mkdir()
    (out / "manifest.json").write_text(OLD_MANIFEST, encoding="utf-8")
    run = load_run(UPSTREAM / "bpe" / "run")
    with pytest.raises(ArtifactError, match="a BPE run has no text vectors"):
        export_repository(run, out, text_vectors=UPSTREAM / "embed" / "text_vectors.npz")
    assert [path.name for path in tmp_path.rglob("*")] == ["repository", "manifest.json"]


def test_a_quantizer_that_fails_leaves_the_older_one(run, tmp_path, monkeypatch):
    monkeypatch.setattr(repositories, "export_graphs", lambda network, folder: None)
    out = tmp_path / "repository"
    out.mkdir()
    (out / "manifest.json").write_text(OLD_MANIFEST, encoding="utf-8")
    asked = []

    def fail(model, folder):
        asked.append((model.ensemble, folder.relative_to(tmp_path).parts[1:]))
        raise ArtifactError("no events")

    with pytest.raises(ArtifactError, match="no events"):
        export_repository(run, out, quantizer=fail)
    assert asked == [("scoring", ("scorer", "1"))]
    assert [path.name for path in tmp_path.rglob("*")] == ["repository", "manifest.json"]


def test_without_a_quantizer_it_is_float32(repository):
    manifest = read_manifest(repository)
    assert (manifest.precision, manifest.quantization) == ("fp32", None)


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


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, np.nan), (np.float16, np.inf), (np.float64, 1e300)])
def test_text_vectors_that_are_not_finite_leave_the_older_repository(tmp_path, dtype, value):
    """A float64 beyond float32's range would be infinite in the table."""
    run = load_run(UPSTREAM / "embed" / "run")
    vectors = np.ones((2, 64), dtype)
    vectors[1, 5] = value
    np.savez(tmp_path / "wrong.npz", texts=np.array('["rent", "coffee"]'), vectors=vectors)
    with pytest.raises(NotFiniteError, match="1 of 2 rows hold NaN or infinity, the first is row 1, 'coffee'"):
        export_repository(run, tmp_path / "out", text_vectors=tmp_path / "wrong.npz")
    assert not (tmp_path / "out").exists()
