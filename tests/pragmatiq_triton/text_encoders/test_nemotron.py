import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModel, AutoTokenizer, LlamaModel, dynamic_module_utils

from pragmatiq_triton.errors import ArtifactError, ConfigError, MissingDependencyError
from pragmatiq_triton.text_encoders import TextEncoder, TextEncoderSpec, create_text_encoder, nemotron
from pragmatiq_triton.text_encoders.model_folder import folder_revision
from pragmatiq_triton.text_encoders.trust import TRUST_VARIABLE

from .texts import TEXTS

CUSTOM_CODE = """
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

class OwnConfig(PreTrainedConfig):
    model_type = "own"

class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, attention_mask):
        return BaseModelOutput(last_hidden_state=self.table(input_ids))
"""


def load(folder: Path, **settings: object) -> TextEncoder:
    return create_text_encoder(TextEncoderSpec(encoder="nemotron", **settings), text_model_folder=folder)


def edit_json(path: Path, drop: tuple[str, ...] = (), **settings: object) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    values = {key: value for key, value in values.items() if key not in drop} | settings
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture(scope="module")
def minilm(minilm_folder: Path) -> TextEncoder:
    return load(minilm_folder)


@pytest.fixture(scope="module")
def llama(llama_folder: Path) -> TextEncoder:
    return load(llama_folder)


@pytest.fixture(scope="module", params=["minilm", "llama"])
def encoder(request: pytest.FixtureRequest) -> TextEncoder:
    return request.getfixturevalue(request.param)


@pytest.fixture
def llama_copy(llama_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(llama_folder, tmp_path / "copy")


@pytest.fixture
def bidirectional_folder(llama_copy: Path) -> Path:
    """The tiny Llama with a config like that of nvidia/llama-nemotron-embed-1b-v2, whose code is not here."""
    edit_json(
        llama_copy / "config.json",
        drop=("rope_parameters",),
        model_type="llama_bidirec",
        architectures=["LlamaBidirectionalModel"],
        auto_map={"AutoConfig": "modeling.LlamaBidirectionalConfig", "AutoModel": "modeling.LlamaBidirectionalModel"},
        pooling="avg",
        temperature=0.02,
        rope_theta=500000.0,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 64,
        },
    )
    return llama_copy


@pytest.fixture
def custom_folder(llama_copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A model with code of its own: each token's vector is a row of its table."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    (llama_copy / "modeling_own.py").write_text(CUSTOM_CODE, encoding="utf-8")
    settings = {"model_type": "own", "vocab_size": 300, "hidden_size": 4}
    auto_map = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    (llama_copy / "config.json").write_text(json.dumps(settings | {"auto_map": auto_map}), encoding="utf-8")
    table = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    save_file({"table.weight": table}, llama_copy / "model.safetensors", {"format": "pt"})
    return llama_copy


def test_the_real_folder_s_vectors_are_mean_pooled_and_of_length_1(minilm: TextEncoder, minilm_folder: Path) -> None:
    """As its modules.json says."""
    model, tokenizer = AutoModel.from_pretrained(minilm_folder), AutoTokenizer.from_pretrained(minilm_folder)
    padded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**padded).last_hidden_state
    mask = padded["attention_mask"].unsqueeze(-1)
    expected = (states * mask).sum(1) / mask.sum(1)
    expected /= expected.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(minilm.encode(TEXTS), expected.numpy(), atol=1e-6)
    assert minilm.revision == f"{folder_revision(minilm_folder)};mean,normalize,max_length=256"


def test_similar_strings_have_similar_vectors(minilm: TextEncoder) -> None:
    vectors = minilm.encode(["monthly salary", "wages for march", "petrol station"])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_a_string_has_the_same_vector_alone_and_in_any_batch(encoder: TextEncoder) -> None:
    texts = [*TEXTS, *(f"CARD PAYMENT {i * 37}" for i in range(40))]
    batch = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    backwards = encoder.encode(texts[::-1])[::-1]
    assert batch.dtype == np.float32
    assert batch.shape == (len(texts), encoder.dim)
    scale = np.abs(batch).max()
    assert np.abs(batch - alone).max() <= 1e-6 * scale
    assert np.abs(batch - backwards).max() <= 1e-6 * scale


def test_the_same_call_gives_the_same_bits(encoder: TextEncoder) -> None:
    assert np.array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))


def test_the_model_never_sees_padding_and_calls_are_bounded(
    llama: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nemotron, "TOKENS_PER_CALL", 40)
    shapes = []
    hook = llama._model.register_forward_pre_hook(
        lambda _, _args, kwargs: shapes.append((kwargs["input_ids"].shape, bool(kwargs["attention_mask"].all()))),
        with_kwargs=True,
    )
    texts = ["a" * (1 + i % 3) + "\x01" * (i % 5) for i in range(100)] + ["\x02" * 100]
    bounded = llama.encode(texts)
    hook.remove()
    assert all(unpadded for _, unpadded in shapes)
    assert all(rows * length <= 40 or rows == 1 for (rows, length), _ in shapes)
    assert sum(rows for (rows, _), _ in shapes) == len(texts)
    monkeypatch.undo()
    np.testing.assert_allclose(bounded, llama.encode(texts), atol=1e-5)


def test_the_model_is_frozen(encoder: TextEncoder) -> None:
    parameters = list(encoder._model.parameters())
    assert not encoder._model.training
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in parameters)


def test_no_texts_give_no_rows(encoder: TextEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_string_without_tokens_is_the_zero_vector(llama: TextEncoder) -> None:
    vectors = llama.encode(["", "a", ""])
    assert not vectors[[0, 2]].any()
    assert np.array_equal(vectors[1:2], llama.encode(["a"]))


def test_long_strings_are_cut(llama_folder: Path) -> None:
    short = load(llama_folder, max_length=4)
    assert np.array_equal(short.encode(["\x01" * 9]), short.encode(["\x01" * 4]))
    assert not np.array_equal(short.encode(["\x01" * 4]), short.encode(["\x01" * 3 + "\x02"]))


def test_a_length_over_the_models_is_refused(minilm_folder: Path) -> None:
    with pytest.raises(ConfigError, match="max_length: expected at most the model's 512, got 513"):
        load(minilm_folder, max_length=513)


def test_the_prefix_stands_in_front(llama: TextEncoder, llama_folder: Path) -> None:
    prefixed = load(llama_folder, prefix="query: ")
    assert np.array_equal(prefixed.encode(["Salary"]), llama.encode(["query: Salary"]))


def test_lone_surrogates_read_as_the_replacement_character(encoder: TextEncoder) -> None:
    assert np.array_equal(encoder.encode(["a \ud800 b"]), encoder.encode(["a \ufffd b"]))


def test_a_pinned_folder(llama_copy: Path) -> None:
    revision = folder_revision(llama_copy)
    assert load(llama_copy, revision=revision).revision == revision
    edit_json(llama_copy / "config.json", rms_norm_eps=1e-3)
    with pytest.raises(ArtifactError, match=f"{folder_revision(llama_copy)}, but {revision} is pinned"):
        load(llama_copy, revision=revision)


def test_a_folder_may_stand_in_for_a_hub_model(llama_folder: Path, llama: TextEncoder) -> None:
    encoder = load(llama_folder, text_model=nemotron.DEFAULT_MODEL, revision=nemotron.DEFAULT_REVISION)
    assert encoder.revision == folder_revision(llama_folder)
    assert np.array_equal(encoder.encode(TEXTS), llama.encode(TEXTS))


def test_the_default_model_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def absent(model: str, revision: str) -> Path:
        asked.append((model, revision))
        raise MissingDependencyError(model)

    monkeypatch.setattr(nemotron, "hub_folder", absent)
    with pytest.raises(MissingDependencyError):
        create_text_encoder(TextEncoderSpec(encoder="nemotron"))
    assert asked == [("nvidia/llama-nemotron-embed-1b-v2", nemotron.DEFAULT_REVISION)]


def test_a_plain_llama_is_causal(llama: TextEncoder) -> None:
    states = last_hidden_states(llama, [[5, 6, 7], [5, 6, 8]])
    torch.testing.assert_close(states[0, :2], states[1, :2])


def test_the_nemotron_architecture_looks_both_ways_without_remote_code(bidirectional_folder: Path) -> None:
    encoder = load(bidirectional_folder)
    ids = [[5, 6, 7], [5, 6, 8]]
    states = last_hidden_states(encoder, ids)
    assert (states[0, 0] - states[1, 0]).abs().max() > 1e-3
    # An explicit mask of ones is a way to the same attention that heeds neither the config nor the layers.
    reference = LlamaModel.from_pretrained(
        bidirectional_folder, config=encoder._model.config, attn_implementation="eager", dtype=torch.float32
    )
    assert reference.config.rope_parameters["rope_theta"] == 500000.0
    assert reference.config.rope_parameters["rope_type"] == "llama3"
    with torch.no_grad():
        expected = reference(torch.tensor(ids), attention_mask=torch.zeros(2, 1, 3, 3)).last_hidden_state
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)


def last_hidden_states(encoder: TextEncoder, input_ids: list[list[int]]) -> torch.Tensor:
    ids = torch.tensor(input_ids)
    return encoder._model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state


def test_the_nemotron_architecture_keeps_its_tokenizer(bidirectional_folder: Path, llama: TextEncoder) -> None:
    assert load(bidirectional_folder)._token_ids(TEXTS) == llama._token_ids(TEXTS)


def test_another_pooling_is_refused(bidirectional_folder: Path) -> None:
    edit_json(bidirectional_folder / "config.json", pooling="cls")
    with pytest.raises(ArtifactError, match="expected pooling 'avg', got 'cls'"):
        load(bidirectional_folder)


def test_remote_code_runs_only_when_asked_for_and_pinned(custom_folder: Path) -> None:
    revision = folder_revision(custom_folder)
    with pytest.raises(ConfigError, match=r"brings its own code.*trust_remote_code: true"):
        load(custom_folder, revision=revision)
    with pytest.raises(ConfigError, match=f"pin it with text_encoder.revision: {revision}"):
        load(custom_folder, trust_remote_code=True)
    encoder = load(custom_folder, trust_remote_code=True, revision=revision)
    table = load_file(custom_folder / "model.safetensors")["table.weight"]
    (ids,) = encoder._token_ids(["Salary"])
    np.testing.assert_allclose(encoder.encode(["Salary"])[0], table[ids].mean(0), rtol=1e-6)


def test_a_known_architecture_runs_without_the_code_beside_it(llama_copy: Path, llama: TextEncoder) -> None:
    (llama_copy / "modeling_own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    edit_json(llama_copy / "config.json", auto_map={"AutoModel": "modeling_own.OwnModel"})
    assert np.array_equal(load(llama_copy).encode(TEXTS), llama.encode(TEXTS))


def test_changed_code_is_not_run(custom_folder: Path) -> None:
    revision = folder_revision(custom_folder)
    (custom_folder / "modeling_own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    with pytest.raises(ArtifactError, match="is pinned"):
        load(custom_folder, trust_remote_code=True, revision=revision)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_from_another_repository_is_refused(custom_folder: Path, name: str) -> None:
    edit_json(custom_folder / name, auto_map={"AutoModel": "other/repository--modeling.Model"})
    with pytest.raises(ConfigError, match=f"{name}: auto_map names code outside this folder"):
        load(custom_folder, trust_remote_code=True, revision=folder_revision(custom_folder))


def test_weights_that_lack_a_tensor_are_refused(llama_copy: Path) -> None:
    path = llama_copy / "model.safetensors"
    weights = load_file(path)
    del weights["layers.1.mlp.up_proj.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ArtifactError, match=r"lack 1 tensors of the model, layers\.1\.mlp\.up_proj\.weight"):
        load(llama_copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"damaged"])
def test_an_incomplete_or_damaged_folder(llama_copy: Path, name: str, content: bytes | None) -> None:
    (llama_copy / name).unlink()
    if content is not None:
        (llama_copy / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=str(llama_copy)):
        load(llama_copy)


def test_pickled_weights_are_not_read(llama_copy: Path) -> None:
    weights = {name: torch.from_numpy(array) for name, array in load_file(llama_copy / "model.safetensors").items()}
    torch.save(weights, llama_copy / "pytorch_model.bin")
    (llama_copy / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="safetensors"):
        load(llama_copy)


def test_threads_are_left_alone_unless_given(llama_folder: Path) -> None:
    before = torch.get_num_threads()
    spec = TextEncoderSpec(encoder="nemotron")
    try:
        create_text_encoder(spec, text_model_folder=llama_folder)
        assert torch.get_num_threads() == before
        create_text_encoder(spec, text_model_folder=llama_folder, threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_here(llama_folder: Path) -> None:
    with pytest.raises(ConfigError, match="device 'nonsense'"):
        create_text_encoder(TextEncoderSpec(encoder="nemotron"), text_model_folder=llama_folder, device="nonsense")


def test_a_dim_other_than_the_models(llama_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"text_encoder\.dim is 2048, but its vectors have 32 numbers"):
        load(llama_folder, dim=2048)
