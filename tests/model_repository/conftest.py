import urllib.request

import numpy as np
import pytest

from builder.network import to_tensors
from pragmatiq_client import ScoringClient
from pragmatiq_triton.batch import collate
from pragmatiq_triton.records import decode_record
from pragmatiq_triton.text_encoders import create_text_encoder
from pragmatiq_triton.tokenizer import Tokenizer


@pytest.fixture(params=["grpc", "http"])
def client(request, server):
    with ScoringClient(getattr(server, f"{request.param}_url"), protocol=request.param, timeout=60) as connected:
        yield connected


@pytest.fixture(scope="session")
def offline(run):
    """A record's embedding by the torch network, without ONNX, tensors between models or a server."""
    import torch

    tokenizer = Tokenizer(run.vocabulary)
    encoder = create_text_encoder(tokenizer.config.text_encoder_spec) if tokenizer.config.embeds_text else None

    def embed(raw):
        user = tokenizer(decode_record(raw))
        vectors = encoder.encode(user.texts) if encoder else np.zeros((0, 0), np.float32)
        with torch.inference_mode():
            return run.network(to_tensors(collate([user], [vectors]), "cpu")).user_embedding[0].numpy()

    return embed


@pytest.fixture
def metric(server):
    """The value of one of the server's metrics for one model."""

    def read(name, model):
        with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f'{name}{{model="{model}"'))

    return read
