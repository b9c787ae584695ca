"""A text model is looked at when it is loaded: whole, finite, its tokenizer knowing strings, within its limits."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

from pragmatiq_builder.dataset.texts import TextStore
from pragmatiq_triton.errors import ArtifactError, NotFiniteError
from pragmatiq_triton.serving.embedding import TextEmbedderStage
from pragmatiq_triton.text_encoders import TextEncoder, TextEncoderSpec, create_text_encoder
from pragmatiq_triton.text_encoders.known_strings import SAMPLE, known_strings, sampled
from pragmatiq_triton.text_encoders.table import TableEncoder

from .conftest import save_tiny


def load(folder: Path, **settings: Any) -> TextEncoder:
    return create_text_encoder(TextEncoderSpec(encoder="nemotron", **settings), text_model_folder=folder)


@pytest.fixture
def copy(bert_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bert_folder, tmp_path / "copy")


@pytest.mark.parametrize("left", [(), ("tokenizer_config.json",)])
def test_a_folder_without_a_tokenizer_is_refused(copy: Path, left: tuple[str, ...]) -> None:
    for file in copy.glob("*token*"):
        if file.name not in left:
            file.unlink()
    with pytest.raises(ArtifactError, match=r"the tokenizer is missing: expected tokenizer\.json, vocab\.txt"):
        load(copy)


def test_a_tokenizer_that_knows_no_strings_is_refused(copy: Path) -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "rent": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(copy)
    with pytest.raises(ArtifactError, match="does not know these strings: of 12 strings 12 are only unknown tokens"):
        load(copy)


def test_a_tokenizer_to_which_all_strings_are_one_is_refused(copy: Path) -> None:
    """Its unknown token has no name, so that only the sameness of the ids tells."""
    words = Tokenizer(models.WordLevel({"<u>": 0}, unk_token="<u>"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(copy)
    (copy / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(ArtifactError, match="12 have another's tokens, such as 'NETFLIX' and 'Rent'"):
        load(copy)


def test_a_tokenizer_with_more_ids_than_the_model_has_vectors_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path, BertModel, BertConfig, n_rows=100)
    with pytest.raises(ArtifactError, match="gives ids up to 191, but the model has 100 token vectors"):
        load(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(copy: Path, value: float) -> None:
    weights = load_file(copy / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    weights[name][3, 4] = value
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(NotFiniteError, match=f"{copy}: the weight {name} holds NaN or infinity"):
        load(copy)


def test_weights_that_overflow_are_found_by_the_first_vector(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["encoder.layer.1.output.LayerNorm.weight"][:] = 3e38
    weights["encoder.layer.1.output.LayerNorm.bias"][:] = 3e38
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(NotFiniteError, match=f"{copy}: 1 of 1 rows hold NaN or infinity"):
        load(copy)


def test_a_model_of_128_positions_cuts_at_its_own_limit(bert_folder: Path) -> None:
    encoder = load(bert_folder)
    assert np.array_equal(encoder.encode(["x " * 126]), encoder.encode(["x " * 300]))
    assert encoder.n_cut == 1
    assert not np.array_equal(encoder.encode(["x " * 125]), encoder.encode(["x " * 126]))


def test_strings_that_are_cut_behind_a_table_are_in_the_servers_metrics(bert_folder: Path) -> None:
    model = load(bert_folder)
    table = TableEncoder(["x"], np.zeros((1, model.dim), np.float32), fallback=model)
    stage = TextEmbedderStage(table)
    texts = [b"x", b"x " * 300, b"x " * 10]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)[None]
    request = {"texts": np.frombuffer(b"".join(texts), np.uint8)[None], "text_offsets": offsets}
    answers: list[Any] = []
    try:
        for _ in range(2):
            stage.submit([request], [answers.append])
        found = [sample.value for sample in stage.samples() if sample.labels == {"part": "texts"}]
    finally:
        stage.close()
    assert all(isinstance(answer, dict) for answer in answers)
    assert found == [1], "once, however often the string is asked for"


def test_positions_that_begin_behind_the_padding_are_not_counted(tmp_path: Path) -> None:
    """Of RoBERTa's 130 rows, 128 are for tokens."""
    save_tiny(tmp_path, RobertaModel, RobertaConfig, max_position_embeddings=130, pad_token_id=1)
    encoder = load(tmp_path)
    assert np.isfinite(encoder.encode(["x " * 300])).all()
    assert np.array_equal(encoder.encode(["x " * 126]), encoder.encode(["x " * 300]))
    assert not np.array_equal(encoder.encode(["x " * 125]), encoder.encode(["x " * 300]))


@pytest.mark.parametrize(
    ("model", "config", "sizes"),
    [
        (T5Model, T5Config, {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 2}),
        (BartModel, BartConfig, {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32,
                                 "decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2}),
    ],
)  # fmt: skip
def test_an_encoder_decoder_is_refused_in_one_line(tmp_path: Path, model: Any, config: Any, sizes: dict) -> None:
    save_tiny(tmp_path, model, config, **sizes)
    with pytest.raises(
        ArtifactError, match=rf"^{tmp_path}: an encoder-decoder model \((t5|bart)\).*take an encoder"
    ) as e:
        load(tmp_path)
    assert "\n" not in str(e.value)


def test_an_adapter_of_a_model_elsewhere_is_refused(copy: Path) -> None:
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}', encoding="utf-8")
    with pytest.raises(ArtifactError, match="an adapter of a model that lies elsewhere"):
        load(copy)


def test_strings_of_the_data_that_the_tokenizer_does_not_know_are_refused(bert_folder: Path, tmp_path: Path) -> None:
    encoder = load(bert_folder)
    texts = ["rent", "salary", *(chr(0x4E00 + i) * 2 for i in range(8))]
    store = TextStore.create(tmp_path, texts, encoder)
    with pytest.raises(ArtifactError, match="of 10 strings 8 are only unknown tokens, 0 have another's tokens"):
        store.embed(encoder)


def test_a_small_share_of_unknown_strings_is_said(
    bert_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = load(bert_folder)
    texts = [*(f"shop {i}" for i in range(18)), "日本", "日本 rent", "家賃 rent"]
    TextStore.create(tmp_path, texts, encoder).embed(encoder)
    (said,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "of 21 strings 1 are only unknown tokens, 2 have another's tokens, such as" in said


def test_cut_strings_are_counted_and_said_once(
    bert_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = load(bert_folder)
    TextStore.create(tmp_path, ["rent", *(f"{i} " * 200 for i in range(3))], encoder).embed(encoder)
    said = [record.getMessage() for record in caplog.records if "longer" in record.getMessage()]
    assert said == ["3 of 4 strings are longer than 'nemotron' reads, and were cut"]


def test_case_accents_and_spaces_may_be_folded() -> None:
    found = known_strings(["Tesco", "TESCO", "te sco", "", " ", "Café", "cafe"], [[5], [5], [5], [], [], [6], [6]], 1)
    assert (found.n, found.unknown, found.alike, found.example) == (5, 0, 0, None)


def test_strings_are_counted_once_each() -> None:
    found = known_strings(["a", "b", "c", "d"], [[1, 1], [7], [7], []], 1)
    assert (found.n, found.unknown, found.alike, found.example, found.lost_share) == (4, 2, 2, ("b", "c"), 1.0)


@pytest.mark.parametrize("n", [0, 1, SAMPLE, SAMPLE + 1, 3 * SAMPLE])
def test_a_sample_is_spread_and_bounded(n: int) -> None:
    texts = sampled([str(i) for i in range(n)])
    assert min(n, SAMPLE // 2) <= len(texts) <= SAMPLE
    assert texts[:1] == ["0"][:n]
