"""The exported graphs on ONNX Runtime, one call each: what of a request's time is arithmetic."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench.serving.cases import EVENTS
from bench.toolkits import CORES
from pragmatiq_builder.finetune.classifiers import ClassifierKind, fit_classifier
from pragmatiq_builder.heads import Head, Platt, heads_graph
from pragmatiq_builder.network import NetworkConfig, PragmaNetwork
from pragmatiq_builder.onnx.graphs import export_graphs
from pragmatiq_triton.batch import UserFeatures, collate
from pragmatiq_triton.scorer import Embeddings, Scorer, TaskHeads
from pragmatiq_triton.scorer.sessions import HEADS

VOCAB_SIZE = 8000
N_TEXTS = 50
TOLERANCE = 1e-5


class Exported(NamedTuple):
    network: PragmaNetwork
    scorer: Scorer


@pytest.fixture(scope="module")
def exported(model_size: str, text_dim: int, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    network = PragmaNetwork(NetworkConfig.of_size(model_size, VOCAB_SIZE, text_dim=text_dim)).eval()
    folder = tmp_path_factory.mktemp("graphs")
    export_graphs(network, folder)
    return Exported(network, Scorer(folder, threads=CORES))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.benchmark(group="event encoder: one call of so many slots, by tokens per event")
@pytest.mark.parametrize("length", [8, 16, 24], ids="tokens={}".format)
@pytest.mark.parametrize("slots", [1, 128, 512, 2048], ids="slots={}".format)
def test_event_encoder(
    benchmark: BenchmarkFixture, exported: Exported, rng: np.random.Generator, slots: int, length: int
) -> None:
    scorer = exported.scorer
    n_events = max(1, slots // (length + 1))
    tokens = rng.integers(0, VOCAB_SIZE, (n_events, length, 4), np.int32)
    tokens[..., 2] = 0
    tokens[..., 3] = -1
    tokens[:, 0, 3] = rng.integers(0, N_TEXTS, n_events)
    projected = scorer.project(rng.standard_normal((N_TEXTS, scorer.text_dim), np.float32))
    vectors = benchmark(scorer.encode_events, tokens, projected)
    assert vectors.shape == (n_events, scorer.dim)
    newest = scorer.encode_events(tokens[[-1, -1]], projected)
    np.testing.assert_allclose(vectors[[-1, -1]], newest, atol=TOLERANCE)


@pytest.mark.benchmark(group="profile encoder: one user")
@pytest.mark.parametrize("length", [0, 16, 64, 200], ids="tokens={}".format)
def test_profile_encoder(
    benchmark: BenchmarkFixture, exported: Exported, rng: np.random.Generator, length: int
) -> None:
    scorer = exported.scorer
    profile, times = rng.integers(0, VOCAB_SIZE, (length, 3), np.int32), rng.random(length, np.float32)
    user = UserFeatures(np.zeros((0, 4), np.int32), np.zeros((0, 5), np.float32), profile, times)
    batch = collate([user, user], [])
    vector = benchmark(scorer.profile_vector, batch, 1)
    assert vector.shape == (1, scorer.dim)
    np.testing.assert_allclose(vector, scorer.profile_vector(batch, 0), atol=TOLERANCE)


@pytest.mark.benchmark(group="history encoder: one user")
@pytest.mark.parametrize("wide", [False, True], ids=["narrow", "wide"])
@pytest.mark.parametrize("n_events", [0, *EVENTS], ids="events={}".format)
def test_history_encoder(
    benchmark: BenchmarkFixture, exported: Exported, rng: np.random.Generator, n_events: int, wide: bool
) -> None:
    scorer = exported.scorer
    profile_vector, event_vectors = (rng.standard_normal((n, scorer.dim), np.float32) for n in (1, n_events))
    times = np.sort(90 * rng.random(n_events))[::-1]
    columns = [np.ones(n_events), times, *(rng.integers(0, stop, n_events) for stop in (24, 7, 32))]
    events = np.stack(columns, axis=1).astype(np.float32)
    found = benchmark(scorer.encode_history, profile_vector, event_vectors, events, wide)
    other = scorer.encode_history(profile_vector, event_vectors, events, not wide)
    for state, expected in zip(found, other, strict=True):
        assert state.shape == (1, scorer.dim)
        np.testing.assert_allclose(state, expected, atol=TOLERANCE)


@pytest.mark.benchmark(group="text projection")
@pytest.mark.parametrize("n_texts", [1, 16, 256], ids="texts={}".format)
def test_text_projection(
    benchmark: BenchmarkFixture, exported: Exported, rng: np.random.Generator, n_texts: int
) -> None:
    network, scorer = exported
    vectors = rng.standard_normal((n_texts, scorer.text_dim), np.float32)
    projected = benchmark(scorer.project, vectors)
    assert network.text_proj is not None
    with torch.inference_mode():
        expected = network.text_proj(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(projected[:-1], expected, atol=1e-4)
    assert not projected[-1].any()


@pytest.mark.benchmark(group="task heads: one user")
@pytest.mark.parametrize("kind", ["logistic", "boosting"])
@pytest.mark.parametrize("n_tasks", [1, 8], ids="tasks={}".format)
def test_heads(
    benchmark: BenchmarkFixture, dim: int, rng: np.random.Generator, tmp_path: Path, kind: ClassifierKind, n_tasks: int
) -> None:
    rows = 500
    x = rng.standard_normal((rows, dim), np.float32)
    labels = (x[:, 0] + rng.standard_normal(rows) > 0).astype(int)
    classifier = fit_classifier(kind, x, labels, np.arange(rows), seed=0)
    heads = [
        Head(f"task_{number}", "probe", "user", ("user_embedding",), (), classifier, Platt(1.0, 0.0), {})
        for number in range(n_tasks)
    ]
    onnx.save(heads_graph(heads, {"user_embedding": dim}, []), tmp_path / HEADS)
    user = x[:1]
    scores = benchmark(TaskHeads(tmp_path), Embeddings(user, user), np.zeros((1, 0), np.float32))
    assert scores.shape == (1, n_tasks)
    assert np.all((scores > 0.5) == labels[0])
