"""What a sentence-transformers folder says of pooling is done, or refused by name."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pragmatiq_builder.export.text_table import write_text_encoder
from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.serving.embedding import load_text_encoder
from pragmatiq_triton.serving.parameters import TextEmbedderParameters
from pragmatiq_triton.text_encoders import TextEncoder, TextEncoderSpec, create_text_encoder
from pragmatiq_triton.text_encoders.model_folder import folder_revision
from pragmatiq_triton.text_encoders.pooling import MODES, PLAIN, Pooling, pooling_of, with_pooling
from pragmatiq_triton.tokenizer import TokenizerConfig

STRINGS = ["Rent", "NETFLIX 12.99", "TESCO STORES 3291", "a", "Salary march " * 3]
FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def load(folder: Path, **settings: Any) -> TextEncoder:
    return create_text_encoder(TextEncoderSpec(encoder="nemotron", **settings), text_model_folder=folder)


@pytest.fixture
def write(bert_folder: Path, tmp_path: Path):
    """A function that adds to a copy of the tiny BERT what sentence-transformers writes."""

    def make(
        pooling: dict[str, Any] | None = None, modules: tuple[str, ...] = (), path: str = "", **files: dict[str, Any]
    ) -> Path:
        folder = tmp_path / "sentence"
        shutil.copytree(bert_folder, folder / path)
        kinds = ["Transformer", "Pooling", *modules]
        paths = [path, "1_Pooling", *(f"{i + 2}_{kind}" for i, kind in enumerate(modules))]
        types = [kind if "." in kind else f"sentence_transformers.models.{kind}" for kind in kinds]
        listed = [
            {"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(zip(paths, types, strict=True))
        ]
        (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
        if pooling is not None:
            files["1_Pooling/config"] = {"word_embedding_dimension": 16, **pooling}
        for name, content in files.items():
            file = folder / f"{name}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(content), encoding="utf-8")
        return folder

    return make


def reference(folder: Path, modes: list[str], texts: list[str], normalize: bool = False) -> np.ndarray:
    """From padded batches, by the masks."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state.numpy()
    mask = batch["attention_mask"].numpy()
    rows, lengths = np.arange(len(texts)), mask.sum(1)
    kept = states * mask[:, :, None]
    places = np.arange(1, mask.shape[1] + 1) * mask
    made = {
        "cls": states[:, 0],
        "max": np.where(mask[:, :, None] == 1, states, -np.inf).max(1),
        "mean": kept.sum(1) / lengths[:, None],
        "mean_sqrt_len_tokens": kept.sum(1) / np.sqrt(lengths)[:, None],
        "weightedmean": (states * places[:, :, None]).sum(1) / places.sum(1)[:, None],
        "lasttoken": states[rows, lengths - 1],
    }
    vectors = np.concatenate([made[mode] for mode in modes], axis=1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if normalize else vectors


@pytest.mark.parametrize("spelling", ["old", "new"])
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_obeyed_in_either_spelling(write, bert_folder, mode, spelling):
    flags = {flag: name == mode for name, flag in FLAGS.items()}
    encoder = load(write(flags if spelling == "old" else {"pooling_mode": mode}))
    np.testing.assert_allclose(encoder.encode(STRINGS), reference(bert_folder, [mode], STRINGS), atol=1e-5)


@pytest.mark.parametrize("spelling", ["old", "new"])
def test_several_modes_stand_side_by_side(write, bert_folder, spelling):
    pooling = {"pooling_mode": ["cls", "mean"]} if spelling == "new" else {FLAGS["mean"]: True, FLAGS["cls"]: True}
    encoder = load(write(pooling))
    assert encoder.dim == 32
    np.testing.assert_allclose(encoder.encode(STRINGS), reference(bert_folder, ["cls", "mean"], STRINGS), atol=1e-5)


def test_a_folder_that_normalises_gives_vectors_of_length_1(write, bert_folder):
    encoder = load(write({"pooling_mode": "cls"}, ("Normalize",)))
    expected = reference(bert_folder, ["cls"], STRINGS, normalize=True)
    np.testing.assert_allclose(encoder.encode(STRINGS), expected, atol=1e-6)


def test_the_transformer_may_lie_in_a_folder_of_its_own(write, bert_folder):
    encoder = load(write({"pooling_mode": "max"}, path="0_Transformer"))
    np.testing.assert_allclose(encoder.encode(STRINGS), reference(bert_folder, ["max"], STRINGS), atol=1e-5)


def test_strings_are_cut_and_lower_cased_as_the_folder_says(write, bert_folder):
    encoder = load(write({"pooling_mode": "mean"}, sentence_bert_config={"max_seq_length": 6, "do_lower_case": True}))
    # Of six tokens two are [CLS] and [SEP].
    expected = reference(bert_folder, ["mean"], ["netf", "rent"])
    np.testing.assert_allclose(encoder.encode(["NETFLIX", "RENT"]), expected, atol=1e-5)
    assert encoder.revision.endswith(";mean,lowercase,max_length=6")


@pytest.mark.parametrize(
    ("modules", "named"),
    [
        (("Dense",), "Transformer, Pooling, Dense"),
        (("LayerNorm", "Normalize"), "LayerNorm"),
        (("own.Head",), "own.Head"),
    ],
)
def test_modules_that_cannot_be_followed_are_refused_by_name(write, modules, named):
    with pytest.raises(ArtifactError, match=rf"modules\.json: its modules are .*{named}"):
        load(write({"pooling_mode": "mean"}, modules))


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ({"pooling_mode": "attention"}, r"pooling \['attention'\], expected cls, max"),
        ({"pooling_mode_attention": True}, r"pooling \['pooling_mode_attention'\]"),
        (None, r"1_Pooling/config\.json: cannot be read"),
    ],
)
def test_pooling_that_is_not_known_is_refused(write, pooling, message):
    with pytest.raises(ArtifactError, match=message):
        load(write(pooling))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"transformer_task": "fill-mask"}, "transformer_task is 'fill-mask'"),
        ({"modality_config": {"text": {"method": "get_text_features"}}}, "method is 'get_text_features'"),
    ],
)
def test_a_transformer_that_is_asked_for_something_else_is_refused(write, config, named):
    with pytest.raises(ArtifactError, match=named):
        load(write({"pooling_mode": "mean"}, sentence_bert_config=config))


def test_a_pooling_folder_that_nothing_points_to_is_refused(write):
    folder = write({"pooling_mode": "cls"})
    (folder / "modules.json").unlink()
    with pytest.raises(ArtifactError, match=r"1_Pooling without modules\.json"):
        load(folder)


def test_a_mean_pooling_folder_keeps_its_revision_and_vectors(write, bert_folder):
    """As tokenizers that were fitted before pooling was read know them."""
    folder = write({"pooling_mode_mean_tokens": True})
    encoder = load(folder)
    assert encoder.revision == folder_revision(folder)
    assert np.array_equal(encoder.encode(STRINGS), load(bert_folder).encode(STRINGS))


def test_another_pooling_is_another_revision(write):
    folder = write({"pooling_mode": "lasttoken"}, ("Normalize",))
    assert load(folder).revision == f"{folder_revision(folder)};lasttoken,normalize"


def test_a_fitted_encoder_keeps_its_pooling_and_says_so(write, bert_folder, caplog):
    folder = write({"pooling_mode": "cls"})
    encoder = load(folder, pooling="mean")
    np.testing.assert_allclose(encoder.encode(STRINGS), reference(bert_folder, ["mean"], STRINGS), atol=1e-5)
    assert encoder.revision == folder_revision(folder)
    assert "says cls; the tokenizer was fitted with vectors that are mean" in caplog.text


@pytest.mark.parametrize(
    ("prompts", "default", "prefix", "message"),
    [
        ({"query": "query: ", "passage": "passage: "}, None, "passage: ", None),
        ({"query": "query: ", "passage": "passage: "}, None, "text: ", r"'text: ' is none of .*'passage: ', 'query: '"),
        ({"query": "query: "}, "query", "", "puts 'query: ' before every string: set text_prefix"),
        ({"query": "", "document": ""}, None, "", None),
    ],
)
def test_a_prefix_is_one_of_the_folder_s_prompts(write, prompts, default, prefix, message):
    folder = write(
        {"pooling_mode": "mean"},
        config_sentence_transformers={"prompts": prompts, "default_prompt_name": default},
    )
    if message is None:
        load(folder, prefix=prefix)
        return
    with pytest.raises(ConfigError, match=message):
        load(folder, prefix=prefix)


def test_a_prefix_for_a_folder_that_names_none_is_pointed_out(bert_folder, caplog):
    load(bert_folder, prefix="passage: ")
    assert f"text_prefix 'passage: ': {bert_folder} names no prompts; see that it is this model's" in caplog.text


def test_a_prompt_that_is_not_pooled_is_refused(write):
    folder = write({"pooling_mode": "mean", "include_prompt": False})
    load(folder)
    with pytest.raises(ConfigError, match="leaves a prompt's tokens out"):
        load(folder, prefix="query: ")


def exported(folder: Path, revision: str | None, out: Path) -> dict[str, Any]:
    """The settings of a text embedder whose run was tokenized with ``folder`` when its revision was ``revision``."""
    config = TokenizerConfig(
        text_value_mode="embed", text_encoder="nemotron", text_encoder_dim=16, text_encoder_revision=revision
    )
    run = SimpleNamespace(
        path=out,
        network=SimpleNamespace(config=SimpleNamespace(text_dim=16)),
        vocabulary=SimpleNamespace(config=config),
    )
    write_text_encoder(run, out, text_model=folder)
    return json.loads((out / "text_encoder.json").read_text(encoding="utf-8"))


def served(out: Path, spec: dict[str, Any]) -> np.ndarray:
    (out / "text_encoder.json").write_text(json.dumps(spec), encoding="utf-8")
    return load_text_encoder(out, TextEmbedderParameters()).encode(STRINGS)


def test_an_exported_encoder_pools_as_when_it_was_fitted(write, bert_folder, tmp_path):
    folder = write({"pooling_mode": "cls"}, ("Normalize",))
    spec = exported(folder, load(folder).revision, tmp_path / "out")
    assert spec["fallback"]["pooling"] == "cls,normalize"
    expected = reference(bert_folder, ["cls"], STRINGS, normalize=True)
    np.testing.assert_allclose(served(tmp_path / "out", spec), expected, atol=1e-6)


@pytest.mark.parametrize("says", ["mean", None], ids=["exported now", "exported before"])
def test_what_was_fitted_before_pooling_was_read_keeps_the_plain_mean(write, bert_folder, tmp_path, says):
    folder = write({"pooling_mode": "cls"})
    spec = exported(folder, folder_revision(folder), tmp_path / "out")
    assert spec["fallback"]["pooling"] == "mean"
    if says is None:
        del spec["fallback"]["pooling"], spec["pooling"]
    np.testing.assert_allclose(served(tmp_path / "out", spec), reference(bert_folder, ["mean"], STRINGS), atol=1e-5)


@pytest.mark.parametrize(
    "pooling", [PLAIN, Pooling(("cls", "max")), Pooling(("lasttoken",), True, True, 64), Pooling(max_length=256)]
)
def test_a_pooling_survives_its_revision(pooling):
    assert Pooling.parse(pooling_of(with_pooling("sha256:1", pooling))) == pooling


def test_the_plain_pooling_goes_without_saying():
    assert with_pooling("sha256:1", PLAIN) == "sha256:1"
    assert [pooling_of(revision) for revision in (None, "sha256:1")] == ["mean", "mean"]


@pytest.mark.parametrize("text", ["", "median", "mean,squared", "mean,max_length=x"])
def test_a_pooling_of_another_version_is_refused(text):
    with pytest.raises(ArtifactError, match="is no pooling of this version"):
        Pooling.parse(text)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_vectors_are_sentence_transformers_own(write, mode):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = write({FLAGS[mode]: True}, ("Normalize",), sentence_bert_config={"max_seq_length": 12})
    expected = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(STRINGS)
    np.testing.assert_allclose(load(folder).encode(STRINGS), expected, atol=1e-5)


@pytest.mark.slow
def test_the_real_folder_s_vectors_are_sentence_transformers_own(minilm_folder):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = [*STRINGS, "card payment " * 400]
    expected = sentence_transformers.SentenceTransformer(str(minilm_folder), device="cpu").encode(texts)
    np.testing.assert_allclose(load(minilm_folder).encode(texts), expected, atol=1e-5)
