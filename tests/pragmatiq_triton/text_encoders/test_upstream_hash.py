import json
from pathlib import Path

import numpy as np
import pytest

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.text_encoders import TextEncoderSpec, create_text_encoder
from pragmatiq_triton.tokenizer import Vocabulary

UPSTREAM = Path(__file__).parents[2] / "data" / "upstream" / "embed"


@pytest.fixture(scope="module")
def encoder():
    return create_text_encoder(Vocabulary.load(UPSTREAM / "run" / "tokenizer").config.text_encoder_spec)


def test_gives_the_vectors_that_upstream_used(encoder):
    with np.load(UPSTREAM / "text_vectors.npz") as arrays:
        texts, vectors = json.loads(str(arrays["texts"])), arrays["vectors"]
    np.testing.assert_allclose(encoder.encode(texts), vectors, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dim", [16, 64, 256])
def test_is_torch_randn(dim):
    import hashlib

    import torch

    texts = ["", "TESCO 42", "日本 🍕", "a\0b"]
    expected = []
    for text in texts:
        seed = int(hashlib.sha1(text.encode()).hexdigest()[:15], 16)
        expected.append(torch.randn(dim, generator=torch.Generator().manual_seed(seed)).numpy())
    encoder = create_text_encoder(TextEncoderSpec(encoder="upstream-hash", dim=dim))
    np.testing.assert_allclose(encoder.encode(texts), np.stack(expected), rtol=0, atol=2e-6)
    np.testing.assert_array_equal(encoder.encode(texts)[2:3], encoder.encode(texts[2:3]))
    assert encoder.encode([]).shape == (0, dim)


def test_other_widths_are_refused():
    with pytest.raises(ConfigError, match="multiple of 16"):
        create_text_encoder(TextEncoderSpec(encoder="upstream-hash", dim=40))
