"""What training needs of a data set, and the batches that it makes of it: which users, hidden how, in what order.

Everything is a function of the seed and the batch's number, so a resumed run meets the batches that it would have met.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from pragmatiq_builder.network import BatchTensors, to_tensors
from pragmatiq_builder.objective import Masking, Targets, mask_values
from pragmatiq_builder.prefetch import prefetched
from pragmatiq_triton.batch import Batch, Int64


class TrainingData(Protocol):
    """A tokenized data set; ``text_dim`` is 0 and ``text_encoder`` None for data without text vectors."""

    @property
    def n_users(self) -> int: ...

    @property
    def token_counts(self) -> Int64:
        """Event tokens of each user, int64 [n_users]."""
        ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def text_dim(self) -> int: ...

    @property
    def text_encoder(self) -> str | None: ...

    @property
    def tokenizer_dir(self) -> Path: ...

    @property
    def tokenizer_hash(self) -> str: ...

    def batch(self, users: Sequence[int]) -> Batch: ...

    def link_texts(self, folder: Path) -> None:
        """Make the distinct strings and their vectors, where there are any, appear in ``folder``, for export."""
        ...

    def copy_fields(self, folder: Path) -> None:
        """Write the table of fields, where there is one, into ``folder``, for the model card."""
        ...


class Position(NamedTuple):
    """A batch's place in training: the pass over the users, and its number within it."""

    epoch: int
    number: int


START = Position(0, 0)


class Example(NamedTuple):
    """One masked batch on the device; ``next`` is the place after it."""

    tensors: BatchTensors
    targets: Targets
    n_tokens: int
    next: Position


def summary(data: TrainingData) -> dict[str, int | str | None]:
    """What makes a data set the same one to resume on."""
    return {
        "n_users": data.n_users,
        "n_tokens": int(data.token_counts.sum()),
        "vocab_size": data.vocab_size,
        "text_encoder": data.text_encoder,
        "text_dim": data.text_dim,
        "tokenizer_hash": data.tokenizer_hash,
    }


def split_users(data: TrainingData, held_out: float, seed: int) -> tuple[Int64, Int64]:
    """Users with events, for training and for validation; a user's side depends on its number and ``seed`` alone."""
    users = np.arange(data.n_users)
    is_held_out = _hash(users, seed) < held_out
    has_events = data.token_counts > 0
    return users[has_events & ~is_held_out], users[has_events & is_held_out]


def plan_epoch(users: Int64, token_counts: Int64, token_budget: int, seed: Sequence[int]) -> list[Int64]:
    """Shuffle ``users`` and fill batches up to ``token_budget`` event tokens; a user over it is a batch of its own."""
    order = np.random.default_rng(seed).permutation(users)
    cuts, filled = [], 0
    for i, n_tokens in enumerate(token_counts[order].tolist()):
        if i and filled + n_tokens > token_budget:
            cuts.append(i)
            filled = 0
        filled += n_tokens
    return np.split(order, cuts)


def examples(
    data: TrainingData,
    users: Int64,
    token_budget: int,
    masking: Masking,
    seed: tuple[int, ...],
    device: torch.device,
    start: Position = START,
    epochs: int | None = None,
) -> Iterator[Example]:
    """Masked batches of ``users`` from ``start`` on, for ``epochs`` passes or for ever; the next is made meanwhile."""

    def produce() -> Iterator[Example]:
        epoch, number = start
        while epochs is None or epoch < epochs:
            plan = plan_epoch(users, data.token_counts, token_budget, [*seed, epoch])
            while number < len(plan):
                batch = data.batch(plan[number].tolist())
                masked = mask_values(batch, masking, np.random.default_rng([*seed, epoch, number]))
                tensors = to_tensors(batch, device, value_ids=masked.value_ids, feed_text=masked.feed_text)
                number += 1
                yield Example(tensors, Targets.of(batch, masked, device), len(batch.tokens), Position(epoch, number))
            epoch, number = epoch + 1, 0

    return prefetched(produce())


def _hash(numbers: Int64, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """SplitMix64's finalizer (Steele, Lea, Flood 2014) of each number, in [0, 1)."""
    x = numbers.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) / 2.0**64
