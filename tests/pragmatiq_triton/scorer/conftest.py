"""Networks with random weights, exported, and users with random records."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from pragmatiq_builder.network import NetworkConfig, PragmaNetwork, to_tensors
from pragmatiq_builder.onnx.graphs import export_graphs
from pragmatiq_triton.batch import Batch, UserFeatures, collate

VOCAB_SIZE = 60
TEXT_DIM = 12
N_TEXTS = 5


@dataclass(frozen=True)
class Exported:
    network: PragmaNetwork
    folder: Path

    @property
    def text_dim(self) -> int:
        return self.network.config.text_dim

    @torch.inference_mode()
    def expected(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """User embeddings, and the states of the newest events, the embedding itself where there is none."""
        encoded = self.network(to_tensors(batch))
        users = encoded.user_embedding.numpy()
        n_events, last = np.diff(batch.event_cu_seqlens), batch.event_cu_seqlens[1:] - 1
        return users, np.where(n_events[:, None] > 0, encoded.event_states.numpy()[last], users)

    def batch(self, users: list[UserFeatures]) -> Batch:
        """``users``, each with texts of its own in embed mode."""
        vectors = [_text_vectors(len(user.events), len(user.texts), self.text_dim) for user in users]
        return collate(users, vectors, self.text_dim)


def _text_vectors(seed: int, n_texts: int, text_dim: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_texts, text_dim)).astype(np.float32)


def export_random(folder: Path, text_dim: int) -> Exported:
    torch.manual_seed(7)
    network = PragmaNetwork(NetworkConfig(VOCAB_SIZE, 32, 2, 2, 2, 2, max_position=4, text_dim=text_dim)).eval()
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=0.2)
    export_graphs(network, folder)
    return Exported(network, folder)


@pytest.fixture(scope="session", params=["bpe", "embed"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_random(tmp_path_factory.mktemp(request.param), TEXT_DIM if request.param == "embed" else 0)


@pytest.fixture
def make_user(exported: Exported) -> Callable[..., UserFeatures]:
    """A user whose events have the token counts given, and whose profile has ``n_profile`` tokens."""
    rng = np.random.default_rng(3)

    def make(token_counts: list[int], n_profile: int) -> UserFeatures:
        n, n_events = sum(token_counts), len(token_counts)
        tokens = np.stack([*rng.integers(0, VOCAB_SIZE, (2, n)), rng.integers(0, 7, n), np.full(n, -1)], axis=1)
        if exported.text_dim:
            tokens[::3, 3] = rng.integers(0, N_TEXTS, len(tokens[::3]))
        times = np.sort(rng.random(n_events) * 90)[::-1]
        calendar = rng.integers(0, 24, n_events), rng.integers(0, 7, n_events), rng.integers(1, 32, n_events)
        return UserFeatures(
            tokens=tokens.astype(np.int32),
            events=np.stack([token_counts, times, *calendar], axis=1).astype(np.float32),
            profile=rng.integers(0, VOCAB_SIZE, (n_profile, 3)).astype(np.int32),
            profile_times=(rng.random(n_profile) * 90).astype(np.float32),
            texts=tuple("abcde"[:N_TEXTS]) if exported.text_dim else (),
        )

    return make


@pytest.fixture
def users(make_user: Callable[..., UserFeatures]) -> list[UserFeatures]:
    """Eight, among them one without events, one without a profile, one with neither and one with an empty event."""
    rng = np.random.default_rng(5)
    ordinary = [make_user(rng.integers(1, 8, n).tolist(), n % 5 + 1) for n in (1, 5, 17, 40)]
    return [*ordinary, make_user([], 4), make_user([3, 3, 1], 0), make_user([], 0), make_user([2, 0, 4], 2)]
