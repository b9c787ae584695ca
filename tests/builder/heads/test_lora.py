from itertools import product
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from pragmatiq_builder.heads.lora import Adapters, add_adapters, load_adapters, merged, save_adapters
from pragmatiq_builder.network import BatchTensors, NetworkConfig, PragmaNetwork, to_tensors
from pragmatiq_triton.errors import ArtifactError
from tests.builder.network.test_model import batch_of, random_user

DEPTHS = {"profile_encoder": 1, "event_encoder": 2, "history_encoder": 3}


def make_network() -> PragmaNetwork:
    """The same weights with every call."""
    network = PragmaNetwork(NetworkConfig(50, 16, 2, *DEPTHS.values())).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return network


def random_adapters(network: PragmaNetwork) -> Adapters:
    """Attached adapters whose product is not zero."""
    generator = torch.Generator().manual_seed(1)
    adapters = add_adapters(network, rank=4, alpha=6.0, generator=generator)
    for adapter in adapters.weights.values():
        torch.nn.init.normal_(adapter.up, std=0.2, generator=generator)
    return adapters


@pytest.fixture
def batch() -> BatchTensors:
    rng = np.random.default_rng(0)
    return to_tensors(batch_of(random_user(rng, [3, 1, 2], 2), random_user(rng, [], 3), random_user(rng, [4], 0)))


@torch.inference_mode()
def test_new_adapters_change_no_result_and_no_name(batch: BatchTensors) -> None:
    network = make_network()
    names, expected = list(network.state_dict()), network(batch)
    add_adapters(network, rank=4, alpha=8.0)
    assert list(network.state_dict()) == names
    for got, state in zip(network(batch), expected, strict=True):
        assert torch.equal(got, state)


def test_every_block_of_every_encoder_is_adapted() -> None:
    blocks = [f"{encoder}.blocks.{i}" for encoder, depth in DEPTHS.items() for i in range(depth)]
    matrices = ["attn.qkv.weight", "ffn.net.0.weight", "ffn.net.3.weight"]
    adapters = add_adapters(make_network(), rank=4, alpha=8.0)
    assert sorted(adapters.weights) == sorted(f"{block}.{matrix}" for block, matrix in product(blocks, matrices))


def test_gradients_reach_the_adapters_and_nothing_else(batch: BatchTensors) -> None:
    network = make_network()
    adapters = random_adapters(network)
    sum((state * torch.randn_like(state)).sum() for state in network(batch)).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in adapters.tensors)
    assert all(parameter.grad is None for parameter in network.parameters())


@torch.inference_mode()
def test_merged_weights_compute_what_attached_adapters_do(batch: BatchTensors) -> None:
    network, adapted = make_network(), make_network()
    adapters = random_adapters(adapted)
    frozen, expected = network(batch), adapted(batch)
    for base in (network, adapted):
        for got, state, unadapted in zip(merged(base, adapters)(batch), expected, frozen, strict=True):
            torch.testing.assert_close(got, state, atol=1e-5, rtol=1e-5)
            assert not torch.allclose(got, unadapted, atol=1e-2)
    for got, state in zip(network(batch), frozen, strict=True):
        assert torch.equal(got, state)


def test_the_product_is_scaled_by_alpha_over_rank() -> None:
    network = make_network()
    adapters = random_adapters(network)
    name = "history_encoder.blocks.2.ffn.net.3.weight"
    down, up = (tensor.detach().numpy() for tensor in adapters.weights[name])
    expected = network.get_parameter(name).numpy() + 6.0 / 4 * up @ down
    np.testing.assert_allclose(merged(network, adapters).get_parameter(name).detach(), expected, atol=1e-6)


def test_a_file_gives_the_same_adapters_back(tmp_path: Path) -> None:
    adapters = random_adapters(make_network())
    save_adapters(adapters, tmp_path / "adapters.safetensors", "abc")
    loaded = load_adapters(tmp_path / "adapters.safetensors", "abc")
    assert (loaded.alpha, loaded.rank) == (6.0, 4)
    assert loaded.weights.keys() == adapters.weights.keys()
    for name, adapter in adapters.weights.items():
        assert all(torch.equal(*pair) for pair in zip(loaded.weights[name], adapter, strict=True))


def test_adapters_of_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "adapters.safetensors"
    save_adapters(random_adapters(make_network()), path, "abc")
    with pytest.raises(ArtifactError, match=rf"{path}: base_hash 'abc', expected 'xyz'"):
        load_adapters(path, "xyz")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "0"}, "format '0', expected '1'"),
        ({}, "format None"),
        ({"format": "1", "base_hash": "abc"}, "cannot be read"),
        ({"format": "1", "base_hash": "abc", "alpha": "8.0", "rank": "3"}, "rank '3', expected '4'"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    path = tmp_path / "adapters.safetensors"
    tensors = {"w.down": torch.zeros(4, 2), "w.up": torch.zeros(2, 4)}
    safetensors.torch.save_file(tensors, path, metadata)
    with pytest.raises(ArtifactError, match=f"{path}: {message}"):
        load_adapters(path, "abc")


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "adapters.safetensors"
    with pytest.raises(ArtifactError, match=f"{path}: is missing"):
        load_adapters(path, "abc")
    save_adapters(random_adapters(make_network()), path, "abc")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match=f"{path}: cannot be read"):
        load_adapters(path, "abc")
