"""Fitting a tokenizer: one pass that counts values per key, then kinds, ids, buckets and BPE pieces."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pragmatiq_builder.dataset.columns import CountedValues, profile_columns, read_event_columns
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw import read_profiles
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import ConfigError, DataError
from pragmatiq_triton.listing import listed
from pragmatiq_triton.text_encoders.protocol import shortened
from pragmatiq_triton.time_range import PLAUSIBLE
from pragmatiq_triton.tokenizer.config import FIELD_LISTS, TokenizerConfig
from pragmatiq_triton.tokenizer.fields import SOURCE_KEY
from pragmatiq_triton.tokenizer.values import is_plain_number, numbers_of
from pragmatiq_triton.tokenizer.vocabulary import FORMAT_VERSION, N_SPECIAL, FieldKind, Float64, Vocabulary

NUMERIC_SHARE = 0.995
NUMERIC_LEAST_VALUES = 32
FORCED_NUMERIC_SHARE = 0.5
"""Of a field in ``force_numeric``: with fewer numbers it is refused."""
_NAMED_FIELDS = 20


@dataclass(slots=True)
class ValueCounts:
    """How often each value of a key was met: at most ``capacity`` distinct values, ``total`` values in all."""

    capacity: int
    total: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def numbers(self) -> Float64:
        """The distinct values read as numbers, NaN where they are none: float64 [n_distinct]."""
        return numbers_of(list(self.counts))

    @property
    def has_numbers(self) -> bool:
        """Whether nearly all values are numbers, and there are enough of them to tell."""
        counted = sum(self.counts.values())
        plain = sum(count for value, count in self.counts.items() if is_plain_number(value))
        # Beyond the counter's capacity the counted values stand for all.
        return self.total >= NUMERIC_LEAST_VALUES and plain >= NUMERIC_SHARE * counted

    def add(self, values: Sequence[str | None], counts: Int64) -> None:
        """Count values; None, a missing one, has no vote."""
        known = self.counts
        for value, count in zip(values, counts.tolist(), strict=True):
            if value is None:
                continue
            self.total += count
            if value in known:
                known[value] += count
            elif len(known) < self.capacity:
                known[value] = count


def fit(data: Path, config: TokenizerConfig, progress: Progress = Silent()) -> Vocabulary:
    """Learn the vocabulary of a raw data folder; ``progress`` advances by event rows.

    Raises :class:`DataError` where the folder holds no field at all.
    """
    config.check_choices()
    event_counts: dict[str, ValueCounts] = {}
    profile_counts: dict[str, ValueCounts] = {}
    times = PLAUSIBLE.with_bounds(config.earliest_time, None)
    seen = SeenTimes()
    for events in read_event_columns(data, config.value_rules, times):
        _count(event_counts, events.counted, config)
        seen.add(events.chunk.ts)
        progress.advance(len(events.chunk.ts))
    for chunk in read_profiles(data, times=times):
        _count(profile_counts, profile_columns(chunk, config.value_rules).counted, config)
        seen.add(chunk.as_of[chunk.as_of != 0])
    if fields := {**event_counts, **profile_counts}:
        check_names(config, fields)
    event_counts, profile_counts = (
        {key: values for key, values in counts.items() if values.total and key not in config.drop_fields}
        for counts in (event_counts, profile_counts)
    )
    if not event_counts and not profile_counts:
        raise DataError(f"{data}: expected events or profiles to fit a tokenizer on, got none")
    vocabulary = _build(event_counts, profile_counts, config)
    return replace(vocabulary, state={**vocabulary.state, **seen.state()})


@dataclass(slots=True)
class SeenTimes:
    """From when to when events and moments of judgement were, microseconds."""

    first: int | None = None
    last: int | None = None

    def add(self, ts: Int64) -> None:
        if len(ts):
            self.first = int(ts.min()) if self.first is None else min(self.first, int(ts.min()))
            self.last = int(ts.max()) if self.last is None else max(self.last, int(ts.max()))

    def state(self) -> dict[str, Any]:
        """The tokenizer's ``time_range``, where any time was seen."""
        return {"time_range": [self.first, self.last]} if self.first is not None else {}


def check_names(config: TokenizerConfig, fields: Collection[str]) -> None:
    """Raise :class:`ConfigError` for a setting that names a field which the data do not have."""
    for setting in FIELD_LISTS:
        for name in getattr(config, setting):
            if name == SOURCE_KEY and setting == "drop_fields":
                raise ConfigError(f"drop_fields: {SOURCE_KEY!r} stays: it is the one token that every event has")
            if name not in fields:
                close = difflib.get_close_matches(name, fields, 3, cutoff=0.5)
                close = close or difflib.get_close_matches(name.lower(), {key.lower(): key for key in fields}, 3)
                known = listed([*map(repr, sorted(fields))], _NAMED_FIELDS)
                choices = f"did you mean {', '.join(map(repr, close))}?" if close else f"the data have {known}"
                raise ConfigError(f"{setting}: no field, attribute or milestone is called {name!r}; {choices}")


def _count(into: dict[str, ValueCounts], counted: Iterable[CountedValues], config: TokenizerConfig) -> None:
    for values in counted:
        into.setdefault(values.key, ValueCounts(config.max_counter_distinct)).add(values.read, values.counts)


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
    # Features read events. That a field of digits is a name is the user's word alone.
    read = event_counts.keys() - set(config.force_text)
    number_keys = [key for key in keys if kinds[key] == "numeric" or (key in read and merged[key].has_numbers)]
    state = {
        "format_version": FORMAT_VERSION,
        "number_keys": number_keys,
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
    if key in config.force_text:
        return "text"
    if key in config.force_numeric:
        _require_numbers(key, values)
        return "numeric"
    least = config.numeric_min_cardinality
    least = 4 * config.n_buckets if least is None else least
    if len(values.counts) > least and values.has_numbers:
        return "numeric"
    return "text" if len(values.counts) > config.categorical_threshold else "categorical"


def _require_numbers(key: str, values: ValueCounts) -> None:
    """Raise :class:`ConfigError` where most values would become [UNK]."""
    counts = np.fromiter(values.counts.values(), np.int64, len(values.counts))
    is_number = np.isfinite(values.numbers)
    if counts[is_number].sum() < FORCED_NUMERIC_SHARE * counts.sum():
        odd = [value for value, number in zip(values.counts, is_number, strict=True) if not number]
        odd.sort(key=lambda value: (-values.counts[value], value))
        share = counts[is_number].sum() / counts.sum()
        raise ConfigError(
            f"force_numeric: {share:.1%} of the values of {key!r} are numbers, expected at least "
            f"{FORCED_NUMERIC_SHARE:.0%}; others are {', '.join(map(shortened, odd[:3]))}: write them as plain "
            "numbers, or leave the field out of force_numeric"
        )


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
