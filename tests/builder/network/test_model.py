import numpy as np
import pytest
import torch

from pragmatiq_builder.network import NetworkConfig, PragmaNetwork, to_tensors
from pragmatiq_builder.network.dropout import Dropout
from pragmatiq_builder.runs import load_run
from pragmatiq_triton.batch import Batch, UserFeatures, collate
from pragmatiq_triton.errors import ConfigError
from tests.builder.upstream_case import N_RECORDS, UpstreamCase

NO_TEXT = np.zeros((0, 0), np.float32)


def random_user(rng: np.random.Generator, token_counts: list[int], n_profile: int) -> UserFeatures:
    n = sum(token_counts)
    tokens = np.stack([*rng.integers(5, 50, (2, n)), rng.integers(0, 9, n), np.full(n, -1)], axis=1)
    events = np.stack(
        [token_counts, np.sort(rng.random(len(token_counts)) * 90)[::-1], *rng.integers(1, 7, (3, len(token_counts)))],
        axis=1,
    )
    profile = rng.integers(5, 9, (n_profile, 3))
    times = rng.random(n_profile).astype(np.float32)
    return UserFeatures(tokens.astype(np.int32), events.astype(np.float32), profile.astype(np.int32), times)


def batch_of(*users: UserFeatures) -> Batch:
    return collate(users, [NO_TEXT] * len(users))


@pytest.fixture
def network() -> PragmaNetwork:
    torch.manual_seed(0)
    network = PragmaNetwork(NetworkConfig(50, 16, 2, 1, 2, 2, max_position=4)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@torch.inference_mode()
def test_upstream_embeddings_alone_and_together(upstream: UpstreamCase) -> None:
    network = load_run(upstream.folder / "run").network
    alone = [network(to_tensors(upstream.batch([i]))).user_embedding.numpy() for i in range(N_RECORDS)]
    together = network(to_tensors(upstream.batch(list(range(N_RECORDS))))).user_embedding.numpy()
    np.testing.assert_allclose(np.concatenate(alone), upstream.embeddings, atol=1e-5)
    np.testing.assert_allclose(together, upstream.embeddings, atol=1e-5)


@torch.inference_mode()
def test_every_state_is_the_same_whoever_shares_the_batch(network: PragmaNetwork) -> None:
    rng = np.random.default_rng(0)
    users = [random_user(rng, counts, p) for counts, p in [([3, 1, 3, 0], 2), ([], 3), ([2], 0), ([], 0), ([1, 3], 2)]]
    together = network(to_tensors(batch_of(*users)))
    alone = [network(to_tensors(batch_of(user))) for user in users]
    for field, whole in zip(together._fields, together, strict=True):
        torch.testing.assert_close(whole, torch.cat([getattr(one, field) for one in alone]), msg=field)


@torch.inference_mode()
def test_a_batch_without_users_gives_empty_states(network: PragmaNetwork) -> None:
    assert [state.shape for state in network(to_tensors(batch_of()))] == [(0, 16)] * 3


@torch.inference_mode()
def test_positions_past_the_table_share_its_last_row(network: PragmaNetwork) -> None:
    batch = batch_of(random_user(np.random.default_rng(0), [3], 1))
    batch.tokens[:, 2] = [0, 1, 3]
    at_the_end = network(to_tensors(batch)).user_embedding
    batch.tokens[:, 2] = [0, 1, 99]
    torch.testing.assert_close(network(to_tensors(batch)).user_embedding, at_the_end)


def test_withheld_text_does_not_reach_the_states() -> None:
    torch.manual_seed(0)
    network = PragmaNetwork(NetworkConfig(50, 16, 2, 1, 1, 1, text_dim=3)).eval()
    user = random_user(np.random.default_rng(0), [3, 2], 1)
    user.tokens[[0, 4], 3] = [0, 1]
    vectors = np.eye(2, 3, dtype=np.float32)
    batch = collate([user], [vectors], 3)

    def embedding(feed: list[bool]) -> torch.Tensor:
        return network(to_tensors(batch, feed_text=np.array(feed))).user_embedding

    both, first, none = (embedding([True] * 5), embedding([True] + [False] * 4), embedding([False] * 5))
    batch.text_vectors[1] = 7
    torch.testing.assert_close(embedding([True] + [False] * 4), first)
    assert not torch.allclose(both, first)
    assert not torch.allclose(first, none)


def test_gradients_reach_every_parameter_that_text_free_users_have(network: PragmaNetwork) -> None:
    rng = np.random.default_rng(0)
    encoded = network.train()(to_tensors(batch_of(random_user(rng, [3, 2], 2), random_user(rng, [4], 1))))
    sum((state * torch.randn_like(state)).sum() for state in encoded).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_dropout_keeps_the_mean_and_repeats_with_the_seed() -> None:
    dropout, x = Dropout(0.25), torch.ones(300, 333, requires_grad=True)
    torch.manual_seed(1)
    dropped = dropout(x)
    dropped.sum().backward()
    torch.manual_seed(1)
    assert torch.equal(dropout(x), dropped)
    assert torch.equal(x.grad, dropped)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert dropout.eval()(x) is x


def test_a_width_that_rotary_cannot_split_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dim 30 .* 4 heads"):
        NetworkConfig(50, 30, 4, 1, 1, 1)
    with pytest.raises(ConfigError, match="'tiny'; choose one of nano"):
        NetworkConfig.of_size("tiny", 50)
