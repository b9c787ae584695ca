from itertools import pairwise

import pytest
import torch

from pragmatiq_builder.network import NetworkConfig
from pragmatiq_builder.training.optimizers import make_optimizers, rate, set_rate
from pragmatiq_builder.training.settings import PretrainSettings
from pragmatiq_builder.training.trainer import MaskedValueModel

SETTINGS = PretrainSettings(max_steps=100, warmup_steps=10, lr_muon=0.5, lr_adamw=0.25)


@pytest.fixture
def model() -> MaskedValueModel:
    return MaskedValueModel(NetworkConfig(30, 16, 2, 1, 2, 1, text_dim=4), SETTINGS)


def test_each_parameter_has_one_optimizer_and_its_own_decay(model: MaskedValueModel) -> None:
    muon, adamw = make_optimizers(model, SETTINGS)
    names = {parameter: name for name, parameter in model.named_parameters()}
    by_muon = [names[p] for group in muon.param_groups for p in group["params"]]
    decayed, bare = ([names[p] for p in group["params"]] for group in adamw.param_groups)
    assert sorted([*by_muon, *decayed, *bare]) == sorted(names.values())
    assert len(by_muon) == 4 * 4
    assert all("_encoder.blocks." in name for name in by_muon)
    assert {"head.proj.weight", "head.text_out.weight", "network.text_proj.weight"} < set(decayed)
    assert "network.embed.embed.weight" in bare
    assert adamw.param_groups[1]["weight_decay"] == 0


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [rate(step, SETTINGS) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert all(later <= earlier for earlier, later in pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.01
    assert rate(1, PretrainSettings(max_steps=1, warmup_steps=0)) == 1


def test_the_rate_scales_both_peaks(model: MaskedValueModel) -> None:
    optimizers = make_optimizers(model, SETTINGS)
    for _ in range(2):
        set_rate(optimizers, 0.5)
    assert [group["lr"] for o in optimizers for group in o.param_groups] == [0.25, 0.125, 0.125]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = [p.clone() for p in model.parameters()]
    for optimizer in optimizers:
        optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
