"""A tokenizer that names code is told of, and its code runs only where the operator says so."""

import pytest

ENCODER = """
import numpy as np

class Encoder:
    name, dim, revision = "shop-names", 4, "1"
    def __init__(self, spec, *, device, threads): ...
    def encode(self, texts):
        return np.array([[len(text), 1, 2, 3] for text in texts], np.float32).reshape(-1, 4)
"""
SETTINGS = "text_value_mode: embed\ntext_encoder: shop_names:Encoder\ncategorical_threshold: 10\n"
NAMED = "would run the Python module that the text encoder 'shop_names:Encoder' names"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "shop_names.py").write_text(ENCODER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    (tmp_path / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path / "settings.yaml"


def test_code_that_a_tokenizer_names_takes_the_operator_s_word(pragmatiq, data, settings, tmp_path):
    tok, new, repo = tmp_path / "tok", tmp_path / "new", tmp_path / "repo"
    assert NAMED in pragmatiq("tokenize", data, "--out", tok, "--config", settings, expect=2).err
    pragmatiq("tokenize", data, "--out", tok, "--config", settings, "--trust-remote-code")
    fitted = ("--tokenizer-dir", tok / "tokenizer")
    refused = pragmatiq("tokenize", data, "--out", new, *fitted, expect=2).err
    assert refused.startswith(f"error: {tok / 'tokenizer'}: {NAMED}")
    assert not new.exists()
    told = pragmatiq("info", tok)
    assert "runs_code" in told.out
    assert "caution: runs the Python module that the text encoder 'shop_names:Encoder' names" in told.err

    tiny = ("--model-size", "nano", "--max-steps", 1, "--runs-root", tmp_path / "runs")
    pragmatiq("pretrain", tok, "--name", "own", *tiny)
    exported = pragmatiq("export", tmp_path / "runs" / "own", "--out", repo).err
    assert "caution: serving it runs the Python module" in exported
    assert "--trust-remote-code" in pragmatiq("info", repo, "--json").json["runs_code"]
    for command in (("warm", repo, data, "--cache-folder", tmp_path / "cache"), ("serve", repo, "--http-port", 0)):
        assert f"{repo}: {NAMED}" in pragmatiq(*command, expect=2).err
    assert not (tmp_path / "cache").exists()
    warmed = pragmatiq("warm", repo, data, "--cache-folder", tmp_path / "cache", "--trust-remote-code", "--json").json
    assert warmed["scorers"]["scorer"]["hits"] == warmed["scorers"]["scorer"]["events"] > 0
