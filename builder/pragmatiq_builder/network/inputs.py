"""What the network reads: a batch's columns as tensors, and where each row goes in the packed sequences.

Sequences of equal length are laid side by side, so that attention runs on contiguous, unpadded, unmasked views.
The index work is numpy's and happens once per batch, off the accelerator.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pragmatiq_triton.batch import Batch, Event, Int64, Token, cu_seqlens


class Packing(NamedTuple):
    """S sequences, each a head row followed by its items, ordered by length: N = S + items rows.

    ``gather`` int64 [N] takes ``[heads; items]`` to the packed order, ``restore`` int64 [N] back;
    ``groups``: (sequences, rows per sequence) of each run of equal length, in packed order.
    """

    gather: Tensor
    restore: Tensor
    groups: tuple[tuple[int, int], ...]


class BatchTensors(NamedTuple):
    """A :class:`~pragmatiq_triton.batch.Batch` on a device.

    Event tokens [T]: ``key_ids``, ``value_ids``, ``positions``; profile tokens [P] likewise with ``profile_times``;
    ``event_times`` float32 [E] in log-seconds; ``calendar`` float32 [E, 3] (hour, day of week, day of month).
    Text: ``text_vectors`` float32 [n_texts, text_dim]; token ``text_tokens[i]`` is fed vector ``text_index[i]``.
    ``token_events`` [T] is each token's event, ``event_users`` [E] each event's user.
    """

    key_ids: Tensor
    value_ids: Tensor
    positions: Tensor
    event_times: Tensor
    calendar: Tensor
    profile_key_ids: Tensor
    profile_value_ids: Tensor
    profile_positions: Tensor
    profile_times: Tensor
    text_vectors: Tensor
    text_tokens: Tensor
    text_index: Tensor
    token_events: Tensor
    event_users: Tensor
    events: Packing
    profiles: Packing
    histories: Packing

    @property
    def n_users(self) -> int:
        return sum(n for n, _ in self.histories.groups)


def to_tensors(
    batch: Batch,
    device: torch.device | str = "cpu",
    *,
    value_ids: npt.NDArray[np.integer] | None = None,
    feed_text: npt.NDArray[np.bool_] | None = None,
) -> BatchTensors:
    """Bring ``batch`` to ``device`` and plan its packing.

    For training, ``value_ids`` [T] stands in for the batch's own, and ``feed_text`` bool [T] says which of the text
    tokens get their vector (all of them by default).
    """

    def tensor(array: npt.NDArray[np.generic], dtype: type = np.int64) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype)).to(device, non_blocking=True)

    tokens, events, profile = batch.tokens, batch.events, batch.profile
    token_counts, event_counts = batch.token_counts, np.diff(batch.event_cu_seqlens)
    fed = tokens[:, Token.TEXT] >= 0
    if feed_text is not None:
        fed &= feed_text
    text_tokens = np.flatnonzero(fed)
    return BatchTensors(
        key_ids=tensor(tokens[:, Token.KEY]),
        value_ids=tensor(tokens[:, Token.VALUE] if value_ids is None else value_ids),
        positions=tensor(tokens[:, Token.POSITION]),
        event_times=tensor(events[:, Event.LOG_SECONDS], np.float32),
        calendar=tensor(events[:, Event.HOUR :], np.float32),
        profile_key_ids=tensor(profile[:, Token.KEY]),
        profile_value_ids=tensor(profile[:, Token.VALUE]),
        profile_positions=tensor(profile[:, Token.POSITION]),
        profile_times=tensor(batch.profile_times, np.float32),
        text_vectors=tensor(batch.text_vectors, np.float32),
        text_tokens=tensor(text_tokens),
        text_index=tensor(tokens[text_tokens, Token.TEXT]),
        token_events=tensor(np.repeat(np.arange(len(events)), token_counts)),
        event_users=tensor(np.repeat(np.arange(batch.n_users), event_counts)),
        events=_pack(token_counts, device),
        profiles=_pack(np.diff(batch.profile_cu_seqlens), device),
        histories=_pack(event_counts, device),
    )


def _pack(item_counts: Int64, device: torch.device | str) -> Packing:
    n_sequences, n_items = len(item_counts), int(item_counts.sum())
    order = np.argsort(item_counts, kind="stable")
    starts = np.empty(n_sequences, np.int64)
    starts[order] = cu_seqlens(item_counts[order] + 1)[:-1]
    within = np.arange(n_items) - np.repeat(cu_seqlens(item_counts)[:-1], item_counts)
    restore = np.concatenate([starts, np.repeat(starts + 1, item_counts) + within])
    gather = np.empty_like(restore)
    gather[restore] = np.arange(len(restore))
    lengths, counts = np.unique(item_counts + 1, return_counts=True)
    return Packing(
        torch.from_numpy(gather).to(device, non_blocking=True),
        torch.from_numpy(restore).to(device, non_blocking=True),
        tuple(zip(counts.tolist(), lengths.tolist(), strict=True)),
    )
