"""Fitting a tokenizer: one pass that counts values per key, then kinds, ids, buckets and BPE pieces."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from builder.dataset.columns import profile_columns, read_event_columns
from builder.progress import Progress, Silent
from builder.raw import read_profiles
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.tokenizer.config import TokenizerConfig
from pragmatiq_triton.tokenizer.fields import FieldColumn
from pragmatiq_triton.tokenizer.vocabulary import (
    FORMAT_VERSION,
    N_SPECIAL,
    FieldKind,
    Float64,
    Vocabulary,
    parse_numbers,
)

NUMERIC_SHARE = 0.995
NUMERIC_LEAST_VALUES = 32


@dataclass(slots=True)
class ValueCounts:
    """How often each value of a key was met: at most ``capacity`` distinct values, ``total`` values in all."""

    capacity: int
    total: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def numbers(self) -> Float64:
        """The distinct values read as numbers, NaN where they are none: float64 [n_distinct]."""
        return parse_numbers(list(self.counts))

    def add(self, values: Sequence[str], counts: Int64) -> None:
        known = self.counts
        self.total += int(counts.sum())
        for value, count in zip(values, counts.tolist(), strict=True):
            if value in known:
                known[value] += count
            elif len(known) < self.capacity:
                known[value] = count


def fit(data: Path, config: TokenizerConfig, progress: Progress = Silent()) -> Vocabulary:
    """Learn the vocabulary of a raw data folder; ``progress`` advances by event rows.

    Raises :class:`DataError` where the folder holds no field at all.
    """
    event_counts: dict[str, ValueCounts] = {}
    profile_counts: dict[str, ValueCounts] = {}
    for events in read_event_columns(data):
        _count(event_counts, events.columns, config)
        progress.advance(len(events.chunk.ts))
    for profiles in read_profiles(data):
        _count(profile_counts, profile_columns(profiles)[0], config)
    if not event_counts and not profile_counts:
        raise DataError(f"{data}: expected events or profiles to fit a tokenizer on, got none")
    return _build(event_counts, profile_counts, config)


def _count(into: dict[str, ValueCounts], columns: list[FieldColumn], config: TokenizerConfig) -> None:
    for column in columns:
        counts = np.bincount(column.inverse, minlength=len(column.values)) if column.inverse is not None else None
        assert counts is not None, "columns of Arrow data have distinct values"
        into.setdefault(column.key, ValueCounts(config.max_counter_distinct)).add(column.values, counts)


def _build(
    event_counts: dict[str, ValueCounts], profile_counts: dict[str, ValueCounts], config: TokenizerConfig
) -> Vocabulary:
    merged = {key: _merge(event_counts.get(key), profile_counts.get(key)) for key in {**event_counts, **profile_counts}}
    keys = sorted(merged)
    key_vocab = {key: N_SPECIAL + i for i, key in enumerate(keys)}
    kinds = {key: _kind(key, merged[key], config) for key in keys}
    next_id = N_SPECIAL + len(keys)
    cat_vocab: dict[str, dict[str, int]] = {}
    binners: dict[str, dict[str, Any]] = {}
    binner_base: dict[str, int] = {}
    for key in keys:
        counts = merged[key].counts
        if kinds[key] == "categorical":
            by_count = sorted(counts, key=lambda value: (-counts[value], value))
            cat_vocab[key] = {value: next_id + i for i, value in enumerate(by_count)}
            next_id += len(by_count)
        elif kinds[key] == "numeric":
            binners[key] = {"n_buckets": config.n_buckets, "edges": _edges(merged[key], config.n_buckets)}
            binner_base[key] = next_id
            next_id += config.n_buckets + 1
    # Where text is embedded, only profiles still need pieces.
    in_pieces = profile_counts if config.embeds_text else merged
    texts = sorted(
        {text for key in keys if kinds[key] == "text" and key in in_pieces for text in in_pieces[key].counts}
    )
    bpe_json, n_pieces = _train_bpe(texts, config, config.target_vocab - next_id) if texts else (None, 0)
    state = {
        "format_version": FORMAT_VERSION,
        "config": msgspec.to_builtins(config),
        "key_vocab": key_vocab,
        "field_kind": kinds,
        "cat_vocab": cat_vocab,
        "binners": binners,
        "binner_base": binner_base,
        "bpe_offset": next_id,
        "vocab_size": next_id + n_pieces,
    }
    return Vocabulary(state, bpe_json)


def _merge(first: ValueCounts | None, second: ValueCounts | None) -> ValueCounts:
    if first is None or second is None:
        present = first or second
        assert present is not None
        return present
    merged = ValueCounts(first.capacity, first.total, dict(first.counts))
    merged.add(list(second.counts), np.fromiter(second.counts.values(), np.int64, len(second.counts)))
    return merged


def _kind(key: str, values: ValueCounts, config: TokenizerConfig) -> FieldKind:
    if key in config.force_categorical:
        return "categorical"
    if key in config.force_numeric:
        return "numeric"
    least = config.numeric_min_cardinality
    least = 4 * config.n_buckets if least is None else least
    if values.total >= NUMERIC_LEAST_VALUES and len(values.counts) > least:
        counts = np.fromiter(values.counts.values(), np.int64, len(values.counts))
        # Beyond the counter's capacity the counted values stand for all.
        if counts[np.isfinite(values.numbers)].sum() >= NUMERIC_SHARE * counts.sum():
            return "numeric"
    return "text" if len(values.counts) > config.categorical_threshold else "categorical"


def _edges(values: ValueCounts, n_buckets: int) -> list[float]:
    """Percentiles of the non-zero finite values between the buckets; ties make fewer edges."""
    numbers = values.numbers
    counts = np.fromiter(values.counts.values(), np.int64, len(values.counts))
    used = np.isfinite(numbers) & (numbers != 0)
    order = np.argsort(numbers[used], kind="stable")
    ordered, cumulative = numbers[used][order], np.cumsum(counts[used][order])
    if not len(ordered):
        return []
    ranks = np.arange(1, n_buckets) / n_buckets * cumulative[-1]
    at = np.searchsorted(cumulative, ranks, side="left")
    return [float(edge) for edge in np.unique(ordered[at])]


def _train_bpe(texts: Sequence[str], config: TokenizerConfig, room: int) -> tuple[str, int]:
    """Byte-level BPE over the distinct texts; ``room`` is how many pieces fit, the 256 bytes at least."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(room, len(alphabet)),
        min_frequency=config.bpe_min_frequency,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator((text.lower() if config.lowercase_text else text for text in texts), trainer)
    return tokenizer.to_str(), tokenizer.get_vocab_size()
