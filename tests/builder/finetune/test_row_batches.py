"""Histories that share a pass over their events must be read as each alone would be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.finetune.labels import Kind, LabelledRows
from pragmatiq_builder.finetune.row_batches import RowBatches, row_states
from pragmatiq_builder.network import PragmaNetwork
from pragmatiq_triton.batch import Token
from tests.builder.finetune.customers import HOUR, N_USERS, Event, alone, cut, make_network, make_rows, write

NO_FEATURES = np.zeros((10_000, 0), np.float32)


@torch.no_grad()
def shared(
    network: PragmaNetwork,
    data: TokenizedDataset,
    rows: LabelledRows,
    *,
    token_budget: int = 16_384,
    max_events: int = 256,
) -> dict[int, torch.Tensor]:
    """The states of every row, by its number, from passes that rows share."""
    batches = RowBatches(data, rows, NO_FEATURES, token_budget=token_budget, max_events=max_events)
    plan = batches.plan(batches.group(np.arange(len(rows.at))), [0])
    numbers = [int(row) for groups in plan for group in groups for row in group.rows]
    assert sorted(numbers) == list(range(len(rows.at)))
    states = torch.cat([row_states(network, batch, rows.kind) for batch in batches(plan)])
    return dict(zip(numbers, states, strict=True))


@pytest.mark.parametrize("kind", ["user", "event"])
@pytest.mark.parametrize("token_budget", [60, 2000])
@pytest.mark.parametrize("max_events", [5, 256])
def test_rows_of_one_user_read_what_each_alone_would(
    data: TokenizedDataset, kind: Kind, token_budget: int, max_events: int
) -> None:
    network, rows = make_network(data), make_rows(data, kind)
    states = shared(network, data, rows, max_events=max_events, token_budget=token_budget)
    for i in range(len(rows.at)):
        torch.testing.assert_close(states[i], alone(network, data, rows, i, max_events), atol=1e-5, rtol=1e-5)


def test_texts_reach_the_rows(text_data: TokenizedDataset) -> None:
    network, rows = make_network(text_data), make_rows(text_data, "event", per_user=2)
    states = shared(network, text_data, rows, max_events=9)
    assert text_data.encoded(0).tokens[:, Token.TEXT].max() >= 0
    for i in range(0, len(rows.at), 5):
        torch.testing.assert_close(states[i], alone(network, text_data, rows, i, 9), atol=1e-5, rtol=1e-5)


def test_older_events_than_the_newest_max_events_are_not_read(data: TokenizedDataset) -> None:
    network, rows = make_network(data), make_rows(data, "user")
    few, many = (shared(network, data, rows, max_events=most) for most in (5, 256))
    for i in range(len(rows.at)):
        n_events = len(cut(data, rows, i, 256).event_ts)
        assert torch.allclose(few[i], many[i], atol=1e-5) == (n_events <= 5)


@pytest.mark.parametrize("kind", ["user", "event"])
def test_a_history_without_events_is_its_user_embedding(data: TokenizedDataset, kind: Kind) -> None:
    network = make_network(data)
    at = np.array([int(data.event_times(1)[-1]), 1])
    rows = LabelledRows(kind, np.array([1, 1]), at, np.zeros(2, np.int8), {})
    states = shared(network, data, rows)
    for i in range(2):
        torch.testing.assert_close(states[i], alone(network, data, rows, i, 256), atol=1e-5, rtol=1e-5)
    if kind == "event":
        assert torch.equal(*states[1].chunk(2))
        assert not torch.equal(*states[0].chunk(2))


@pytest.mark.parametrize("kind", ["user", "event"])
def test_nothing_after_a_row_is_seen(data: TokenizedDataset, events: list[Event], tmp_path: Path, kind: Kind) -> None:
    users = np.arange(0, N_USERS, 5)
    at = np.array([int(data.event_times(user)[10]) for user in users])
    rows = LabelledRows(kind, users, at, np.zeros(len(users), np.int8), {})
    latest = {f"u{user}": int(ts) - (kind == "user") for user, ts in zip(users, at, strict=True)}
    past = [event for event in events if event[1] <= latest.get(event[0], 0)]
    future = [
        (user, ts + hours * HOUR + 1, "app", {"kind": "alarm", "memo": "planted"})
        for user, ts in latest.items()
        for hours in (0, 1, 900)
    ]
    network = make_network(data)
    states = []
    for name, seen in (("past", past), ("both", [*past, *future])):
        raw = write(tmp_path / name, sorted(seen, key=lambda event: (event[0], event[1])))
        tokenize(raw, tmp_path / f"{name}-tok", tokenizer_dir=data.tokenizer_dir)
        other = TokenizedDataset(tmp_path / f"{name}-tok")
        numbers = np.array([other.user_ids.index(f"u{user}") for user in users])
        states.append(shared(network, other, replace(rows, users=numbers)))
    for i in range(len(users)):
        assert torch.equal(states[0][i], states[1][i])


def test_batches_keep_the_budget_and_split_only_users_beyond_it(data: TokenizedDataset) -> None:
    rows = make_rows(data, "user", per_user=8)
    numbers = np.arange(len(rows.at))
    whole = RowBatches(data, rows, NO_FEATURES, token_budget=10**6, max_events=256).group(numbers)
    assert [group.user for group in whole] == list(range(N_USERS))
    cost = max(group.cost for group in whole)
    fitting = RowBatches(data, rows, NO_FEATURES, token_budget=cost, max_events=256).group(numbers)
    assert len(fitting) == N_USERS
    batches = RowBatches(data, rows, NO_FEATURES, token_budget=cost // 2, max_events=256)
    split = batches.group(numbers)
    assert len(split) > N_USERS
    for groups in batches.plan(split, [0]):
        assert sum(group.cost for group in groups) <= cost // 2
        batch = batches.batch(groups)
        assert batch.n_tokens + len(batch.event_index) + len(batch.labels) == sum(group.cost for group in groups)
