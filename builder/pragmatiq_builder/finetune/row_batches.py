"""Batches of labelled histories whose events are encoded once for all rows that share them.

Every labelled row is a history of its own, but rows of one user share most events: these go through the event encoder
once per batch, and only the history encoder runs per row.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.inputs import Reach, history_of
from pragmatiq_builder.finetune.labels import Kind, LabelledRows
from pragmatiq_builder.network import BatchTensors, PragmaNetwork, to_tensors
from pragmatiq_builder.prefetch import prefetched
from pragmatiq_builder.training.data import plan_epoch
from pragmatiq_triton.batch import Event, Float32, Int64, UserFeatures
from pragmatiq_triton.tokenizer import EncodedRecord, assemble
from pragmatiq_triton.tokenizer.assemble import newest


class RowGroup(NamedTuple):
    """Rows of one user, ascending in time, that share one pass over its events.

    ``rows`` int64 [k] are their numbers; row i reads the user's events of ``reaches[i]``; ``cost`` counts the tokens of
    all these events and the slots of the rows' histories.
    """

    user: int
    rows: Int64
    reaches: list[Reach]
    cost: int


class RowBatch(NamedTuple):
    """Rows on the device: the ``events`` that any of them needs, once, and their ``histories``, which hold no tokens.

    ``event_index`` int64 [E] is each history event's place in ``events``; ``newest`` int64 [n] the place of each row's
    newest event in [user embeddings; event states], its user embedding's where there is no event; ``features``
    float32 [n, f] standardised; ``labels`` float32 [n]; ``n_tokens``: event tokens.
    """

    events: BatchTensors
    histories: BatchTensors
    event_index: Tensor
    newest: Tensor
    features: Tensor
    labels: Tensor
    n_tokens: int


Plan = list[list[RowGroup]]
"""The row groups of each batch."""


def row_states(network: PragmaNetwork, batch: RowBatch, kind: Kind) -> Tensor:
    """What the head reads of each row: user embeddings [n, d], of events also the newest event's state: [n, 2d]."""
    events, histories = batch.events, batch.histories
    event_vectors, _ = network.encode_events(network.embed_tokens(events), events.events)
    profiles = network.encode_profiles(network.embed_tokens(histories), histories.profiles, histories.profile_times)
    user_embedding, event_states = network.encode_histories(
        profiles,
        event_vectors.index_select(0, batch.event_index) + network.calendar(histories.calendar),
        histories.histories,
        histories.event_times,
    )
    if kind == "user":
        return user_embedding
    newest_states = torch.cat([user_embedding, event_states]).index_select(0, batch.newest)
    return torch.cat([user_embedding, newest_states], dim=1)


class RowBatches:
    """Makes batches of labelled rows; ``features`` float32 [n_rows, f] are finite.

    ``token_budget``: event tokens of one batch, and the events of its rows' histories; ``max_events``: newest events of
    a history that are read.
    """

    def __init__(
        self,
        data: TokenizedDataset,
        rows: LabelledRows,
        features: Float32,
        *,
        token_budget: int,
        max_events: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.data, self.rows, self.features, self.device = data, rows, features, device
        self.token_budget = token_budget
        self.max_events = min(max_events, data.config.max_events_per_user)

    def group(self, numbers: Int64) -> list[RowGroup]:
        """The rows ``numbers`` by user; a user's rows over the budget become several groups."""
        order = numbers[np.lexsort((self.rows.at[numbers], self.rows.users[numbers]))]
        starts = np.flatnonzero(np.diff(self.rows.users[order], prepend=-1))
        return [group for of_user in np.split(order, starts)[1:] for group in self._groups(of_user)]

    def plan(self, groups: list[RowGroup], seed: list[int]) -> Plan:
        """The groups shuffled into batches up to the budget."""
        costs = np.array([group.cost for group in groups], np.int64)
        batches = plan_epoch(np.arange(len(groups)), costs, self.token_budget, seed)
        return [[groups[i] for i in batch] for batch in batches]

    def __call__(self, *plans: Plan) -> Iterator[RowBatch]:
        """The batches of one plan after the other; the next is made meanwhile."""
        return prefetched(self.batch(groups) for plan in plans for groups in plan)

    def batch(self, groups: list[RowGroup]) -> RowBatch:
        """The rows of ``groups``, group by group."""
        users, histories, index, n_events = [], [], [], 0
        for group in groups:
            record = self.data.encoded(group.user)
            needed = np.zeros(len(record.event_ts), np.bool_)
            for reach in group.reaches:
                needed[reach.events()] = True
            place = np.cumsum(needed) - 1 + n_events
            index += [place[reach.events()] for reach in group.reaches]
            n_events += int(needed.sum())
            users.append(_only_tokens(record, needed))
            bare = replace(
                record, tokens=record.tokens[:0], numbers=record.numbers[:0], event_lengths=0 * record.event_lengths
            )
            histories += [self._history(bare, row) for row in group.rows.tolist()]
        numbers = np.concatenate([group.rows for group in groups])
        events, packed = self.data.collate(users), self.data.collate(histories)
        stops = packed.event_cu_seqlens[1:]
        has_events = stops > packed.event_cu_seqlens[:-1]
        newest_places = np.where(has_events, len(numbers) + stops - 1, np.arange(len(numbers)))
        return RowBatch(
            events=to_tensors(events, self.device),
            histories=to_tensors(packed, self.device),
            event_index=torch.from_numpy(np.concatenate(index)).to(self.device),
            newest=torch.from_numpy(newest_places).to(self.device),
            features=torch.from_numpy(self.features[numbers]).to(self.device),
            labels=torch.from_numpy(self.rows.labels[numbers].astype(np.float32)).to(self.device),
            n_tokens=len(events.tokens),
        )

    def _history(self, record: EncodedRecord, row: int) -> UserFeatures:
        return assemble(newest(history_of(record, self.rows, row), self.max_events), self.data.config)

    def _groups(self, numbers: Int64) -> Iterator[RowGroup]:
        """One user's rows, ascending in time, in as few groups within the budget as their order allows."""
        user = int(self.rows.users[numbers[0]])
        lengths, event_ts = self.data.encoded(user).event_lengths, self.data.event_times(user)
        reaches = [Reach.of(self.rows, row, event_ts, self.max_events) for row in numbers.tolist()]
        begin, cost, needed = 0, 0, np.zeros(len(lengths), np.bool_)
        for i, reach in enumerate(reaches):
            events = reach.events()
            added = int(lengths[events[~needed[events]]].sum()) + len(events) + 1
            if cost and cost + added > self.token_budget:
                yield RowGroup(user, numbers[begin:i], reaches[begin:i], cost)
                begin, cost, needed[:] = i, 0, False
                added = int(lengths[events].sum()) + len(events) + 1
            needed[events] = True
            cost += added
        yield RowGroup(user, numbers[begin:], reaches[begin:], cost)


def _only_tokens(record: EncodedRecord, needed: npt.NDArray[np.bool_]) -> UserFeatures:
    """The needed events' tokens, with neither times nor profile."""
    lengths = record.event_lengths[needed]
    events = np.zeros((len(lengths), len(Event)), np.float32)
    events[:, Event.TOKENS] = lengths
    tokens = record.tokens[np.repeat(needed, record.event_lengths)]
    return UserFeatures(tokens, events, record.profile[:0], np.zeros(0, np.float32))
