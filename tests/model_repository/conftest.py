import urllib.request

import numpy as np
import pytest

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.network import to_tensors
from pragmatiq_builder.runs import load_run
from pragmatiq_client import ScoringClient
from pragmatiq_triton.batch import collate
from pragmatiq_triton.records import decode_record
from pragmatiq_triton.server import TritonServer
from pragmatiq_triton.text_encoders import create_text_encoder
from pragmatiq_triton.tokenizer import Tokenizer
from tests.builder.export.heads_case import all_features, hybrid_head, lora, probe, run_with
from tests.conftest import UPSTREAM

ADAPTED = "loan-2.x"
MAX_EVENTS = 3
"""Of the head with adapters: its name, and the newest events that it reads."""


@pytest.fixture(scope="session")
def tuned(variant, tmp_path_factory):
    """A run with two heads on the plain network and one with adapters."""
    features = all_features(load_run(UPSTREAM / variant / "run"))
    first, rest = features[::-1][:4], features[::-1][4:]
    # Column 4, on which a tree of this head splits first, is a feature of the caller's own.
    heads = [probe(), hybrid_head("amount", (*first, "own:bureau", *rest)), lora(ADAPTED, max_events=MAX_EVENTS)]
    return run_with(tmp_path_factory.mktemp("tuned") / "run", variant, *heads)


@pytest.fixture(scope="session")
def tuned_repository(tuned, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "repository"
    export_repository(tuned, out)
    return out


@pytest.fixture(scope="session")
def tuned_server(tuned_repository):
    with TritonServer(tuned_repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


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
