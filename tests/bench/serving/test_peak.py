"""The work that a record needs, held to a network that counts its own products."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.serving.peak import encoder_flop, matmul_peak, record_gflop
from pragmatiq_builder.network import NetworkConfig
from pragmatiq_builder.network.layers import Encoder
from pragmatiq_triton.batch import UserFeatures


@pytest.mark.parametrize(("depth", "length"), [(1, 7), (3, 1), (4, 20)])
def test_flop_are_the_networks_but_for_what_the_last_block_does_not_need(depth, length):
    dim = 16
    # The counter does not know the fused attention of a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        Encoder(dim, 2, depth, 0.0).eval()(torch.zeros(length, dim), ((1, length),))
    spared = (length - 1) * (20 * dim**2 + 4 * length * dim)
    assert encoder_flop(dim, depth, length) == counted.get_total_flops() - spared


def user(*events):
    tokens = np.array([[1, value, 0, -1] for event in events for value in event], np.int32)
    table = np.zeros((len(events), 5), np.float32)
    table[:, 0] = [len(event) for event in events]
    return UserFeatures(tokens, table, np.zeros((4, 3), np.int32), np.zeros(4, np.float32))


def test_an_event_that_occurs_twice_is_encoded_once():
    config = NetworkConfig(100, 192, 3, 1, 5, 2)
    once, twice, two = (record_gflop(config, user(*events)) for events in ([[3, 4]], [[3, 4]] * 2, [[3, 4], [5, 6]]))
    event = encoder_flop(192, 5, 3) / 1e9
    assert two - twice == pytest.approx(event)
    assert once < twice < two


def test_the_peak_is_a_positive_speed():
    assert matmul_peak(size=64, seconds=0.01) > 0
