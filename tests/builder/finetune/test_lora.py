"""A signal in the histories must be found, in the way it is served, and fitting must stop in time."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.labels import Kind, LabelledRows
from pragmatiq_builder.finetune.lora import LEAST_SCALE, LoraFit, LoraSettings, fit_lora
from pragmatiq_builder.heads.lora import merged
from pragmatiq_builder.network import PragmaNetwork
from pragmatiq_builder.training.data import split_users
from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import DataError
from tests.builder.finetune.customers import alone, make_network, make_rows

CPU = {"precision": "32-true", "accelerator": "cpu"}
NO_FEATURES = np.zeros((10_000, 0), np.float32)


def held_out_loss(
    network: PragmaNetwork, data: TokenizedDataset, rows: LabelledRows, features: Float32, fit: LoraFit, seed: int = 0
) -> float:
    """The held-out users' log loss by the merged network and the head's formula, row by row."""
    adapted = merged(network, fit.adapters)
    losses = []
    for i in np.flatnonzero(np.isin(rows.users, split_users(data, LoraSettings().held_out, seed)[1])):
        x = np.concatenate([alone(adapted, data, rows, int(i), fit.max_events).numpy(), features[i]])
        logit = np.nan_to_num((x - fit.linear.mean) / fit.linear.scale) @ fit.linear.weights + fit.linear.bias
        losses.append(math.log1p(math.exp(-logit if rows.labels[i] else logit)))
    return float(np.mean(losses))


@pytest.mark.parametrize("kind", ["user", "event"])
def test_a_token_in_the_history_is_learnt_as_it_is_served(data: TokenizedDataset, kind: Kind) -> None:
    network, rows = make_network(data), make_rows(data, kind, per_user=8)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    features = NO_FEATURES[: len(rows.at)]
    settings = LoraSettings(max_events=6, token_budget=600, max_epochs=9, patience=9, lr=0.01, alpha=16.0, **CPU)
    fit = fit_lora(network, data, rows, np.arange(len(rows.at)), features, settings)
    base_rate = rows.labels.mean()
    entropy = -base_rate * math.log(base_rate) - (1 - base_rate) * math.log(1 - base_rate)
    loss = min(evaluation.held_out_loss for evaluation in fit.history)
    assert loss < 0.6 * entropy
    assert held_out_loss(network, data, rows, features, fit) == pytest.approx(loss, abs=1e-4)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_fitting_stops_early_and_keeps_the_best(data: TokenizedDataset) -> None:
    network, rows = make_network(data), make_rows(data, "user")
    rows = replace(rows, labels=np.random.default_rng(0).integers(0, 2, len(rows.at)).astype(np.int8))
    features = NO_FEATURES[: len(rows.at)]
    settings = LoraSettings(token_budget=600, max_epochs=20, lr=0.02, **CPU)
    fit = fit_lora(network, data, rows, np.arange(len(rows.at)), features, settings)
    losses = [evaluation.held_out_loss for evaluation in fit.history]
    assert len(losses) == int(np.argmin(losses)) + 1 + settings.patience < settings.max_epochs
    assert fit.history[0].step == 0
    assert [evaluation.epoch for evaluation in fit.history[1:]] == list(range(len(losses) - 1))
    assert held_out_loss(network, data, rows, features, fit) == pytest.approx(min(losses), abs=1e-4)


def test_evaluations_come_every_so_many_steps_and_at_the_end(data: TokenizedDataset) -> None:
    rows = make_rows(data, "user")
    settings = LoraSettings(token_budget=500, max_epochs=2, validate_every=5, patience=100, **CPU)
    fit = fit_lora(make_network(data), data, rows, np.arange(len(rows.at)), NO_FEATURES[: len(rows.at)], settings)
    steps = [evaluation.step for evaluation in fit.history]
    assert steps[:-1] == list(range(0, steps[-1], 5))
    assert {evaluation.epoch for evaluation in fit.history} == {0, 1}


def test_features_are_read_with_gaps_and_constants(data: TokenizedDataset) -> None:
    network, rows = make_network(data), make_rows(data, "user")
    rng = np.random.default_rng(0)
    features = np.stack([1e6 + 100.0 * rows.labels, np.full(len(rows.at), 3.5), np.full(len(rows.at), np.nan)], axis=1)
    features[rng.random(len(features)) < 0.1, 0] = np.nan
    features = features.astype(np.float32)
    settings = LoraSettings(token_budget=500, max_epochs=9, lr=0.05, **CPU)
    fit = fit_lora(network, data, rows, np.arange(len(rows.at)), features, settings)
    assert fit.linear.n_inputs == 16 + 3
    np.testing.assert_array_equal(fit.linear.scale[-2:], 1)
    assert fit.linear.mean[-2:].tolist() == [3.5, 0]
    loss = min(evaluation.held_out_loss for evaluation in fit.history)
    assert loss < 0.3
    assert held_out_loss(network, data, rows, features, fit) == pytest.approx(loss, abs=1e-3)


def test_states_that_hardly_differ_are_not_blown_up(data: TokenizedDataset) -> None:
    rows, network = make_rows(data, "user", per_user=2), make_network(data)
    torch.nn.init.constant_(network.history_encoder.norm.weight[:3], 1e-3)
    torch.nn.init.constant_(network.history_encoder.norm.weight[:1], 0.0)
    settings = LoraSettings(max_epochs=1, **CPU)
    fit = fit_lora(network, data, rows, np.arange(len(rows.at)), NO_FEATURES[: len(rows.at)], settings)
    constant, *hardly, another = fit.linear.scale[:4]
    assert constant == 1
    assert hardly == pytest.approx([LEAST_SCALE * np.median(fit.linear.scale)] * 2, rel=0.1)
    assert another > hardly[0]


def test_the_seed_decides_the_fit(data: TokenizedDataset) -> None:
    rows = make_rows(data, "user", per_user=2)

    def fit(seed: int) -> LoraFit:
        settings = LoraSettings(token_budget=1000, max_epochs=2, seed=seed, **CPU)
        return fit_lora(make_network(data), data, rows, np.arange(len(rows.at)), NO_FEATURES[: len(rows.at)], settings)

    first, again, other = fit(1), fit(1), fit(2)
    assert first.history == again.history != other.history
    assert all(map(torch.equal, first.adapters.tensors, again.adapters.tensors))
    np.testing.assert_array_equal(first.linear.weights, again.linear.weights)


def test_only_the_rows_named_are_read(data: TokenizedDataset) -> None:
    rows = make_rows(data, "user")
    train = np.arange(0, len(rows.at), 2)
    settings = LoraSettings(token_budget=1000, max_epochs=1, **CPU)
    features = np.random.default_rng(0).random((len(rows.at), 1)).astype(np.float32)
    fits = []
    for filler in (rows.labels, 1 - rows.labels):
        labels = rows.labels.copy()
        labels[1::2] = filler[1::2]
        features[1::2] += 1
        fits.append(fit_lora(make_network(data), data, replace(rows, labels=labels), train, features, settings))
    assert fits[0].history == fits[1].history


def test_parts_without_both_classes_and_infinite_features_are_refused(data: TokenizedDataset) -> None:
    rows, network = make_rows(data, "user", per_user=1), make_network(data)
    numbers, features = np.arange(len(rows.at)), NO_FEATURES[: len(rows.at)]
    is_held_out = np.isin(rows.users, split_users(data, LoraSettings().held_out, 0)[1])
    for part, chosen in (("held-out", is_held_out), ("training", ~is_held_out)):
        one_class = replace(rows, labels=np.where(chosen, 0, rows.labels).astype(np.int8))
        with pytest.raises(DataError, match=rf"the {part} rows are {chosen.sum()}, 0 of them positive"):
            fit_lora(network, data, one_class, numbers, features)
    features = np.full((len(rows.at), 2), np.nan, np.float32)
    features[3, 1] = np.inf
    with pytest.raises(DataError, match=r"features\[3, 1\] is infinite"):
        fit_lora(network, data, rows, numbers, features)


def test_what_is_not_finite_is_named(data: TokenizedDataset) -> None:
    rows, network = make_rows(data, "user", per_user=2), make_network(data)
    arguments = (data, rows, np.arange(len(rows.at)), NO_FEATURES[: len(rows.at)])
    with pytest.raises(DataError, match=r"step \d+: loss or gradient is not finite; lower lr"):
        fit_lora(network, *arguments, LoraSettings(lr=1e30, warmup=0.0, token_budget=500, **CPU))
    torch.nn.init.constant_(network.history_encoder.norm.bias, math.inf)
    with pytest.raises(DataError, match="states are not finite"):
        fit_lora(network, *arguments, LoraSettings(**CPU))


@pytest.mark.parametrize("settings", [{"rank": 0}, {"held_out": 0.0}, {"lr": 0.0}, {"warmup": 1.0}, {"ranks": 8}])
def test_settings_that_do_not_fit_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, LoraSettings)


def test_fitting_begins_as_the_probe_and_keeps_it_where_adapters_do_harm(data: TokenizedDataset) -> None:
    rows = make_rows(data, "user")
    features = (
        rows.labels[:, np.newaxis].astype(np.float32) + np.linspace(0, 0.4, len(rows.at), dtype=np.float32)[:, None]
    )
    settings = LoraSettings(token_budget=600, max_epochs=2, patience=1, lr=1.0, **CPU)
    fit = fit_lora(make_network(data), data, rows, np.arange(len(rows.at)), features, settings)
    start, *later = fit.history
    assert start.held_out_loss < 0.6 < min(evaluation.held_out_loss for evaluation in later)
    assert not any(adapter.up.any() for adapter in fit.adapters.weights.values())
    assert fit.linear.weights[-1] > 0.1
