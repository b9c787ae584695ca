"""What fitting learned: the ids of keys and values. Reads and writes the upstream toolkit's tokenizer files."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.time_range import PLAUSIBLE, TimeRange
from pragmatiq_triton.tokenizer.bpe import BpeEncoder
from pragmatiq_triton.tokenizer.config import TokenizerConfig
from pragmatiq_triton.tokenizer.values import ValueRules, numbers_of

FORMAT_VERSION = 2
"""Of a tokenizer that is fitted now. 1 is the upstream toolkit's, and ours from before: values are read as they are
written. From 2 on they are read by :class:`~pragmatiq_triton.tokenizer.values.ValueRules`."""

PAD, MASK, UNK, USR, EVT = range(5)
N_SPECIAL = 5
UPSTREAM_HASH = "upstream-hash"

Float64 = npt.NDArray[np.float64]
FieldKind = Literal["categorical", "numeric", "text"]


@dataclass(frozen=True)
class Vocabulary:
    """The fitted state, as ``tokenizer.json`` and ``bpe.json`` hold it; keys and values share one id space.

    ``state`` is kept as it was read, so that saving gives the same hash whoever fitted it.
    """

    state: dict[str, Any]
    bpe_json: str | None

    @cached_property
    def config(self) -> TokenizerConfig:
        config = TokenizerConfig.from_state(self.state["config"])
        if config.text_encoder == "hash" and config.text_encoder_revision is None:
            # Our fitting always notes the revision: this is the upstream toolkit's encoder of the same name.
            return msgspec.structs.replace(config, text_encoder=UPSTREAM_HASH)
        return config

    @cached_property
    def times(self) -> TimeRange:
        """Which times are plausible: the setting's, and those around what the tokenizer was fitted on, if it says."""
        times = PLAUSIBLE.with_bounds(self.config.earliest_time, None)
        fitted_on = self.state.get("time_range")
        return times.around(*fitted_on) if fitted_on else times

    @cached_property
    def size(self) -> int:
        return int(self.state["vocab_size"])

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the canonical state followed by the BPE file's text."""
        text = json.dumps(self.state, sort_keys=True) + (self.bpe_json or "")
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    @cached_property
    def bpe(self) -> BpeEncoder | None:
        """What cuts texts into pieces; None where there is no BPE file."""
        return BpeEncoder(self.bpe_json, self.config.lowercase_text) if self.bpe_json else None

    @cached_property
    def _edges(self) -> dict[str, Float64]:
        return {key: np.asarray(binner["edges"], np.float64) for key, binner in self.state["binners"].items()}

    @cached_property
    def rules(self) -> ValueRules | None:
        """How values are read; None: as they are written."""
        return None if self.state.get("format_version", 1) == 1 else self.config.value_rules

    @cached_property
    def number_keys(self) -> list[str]:
        """The fields whose values are numbers for features, whatever their tokens are, by name."""
        numeric = (key for key, kind in self.state["field_kind"].items() if kind == "numeric")
        return sorted(self.state.get("number_keys", numeric))

    @cached_property
    def _number_keys(self) -> frozenset[str]:
        return frozenset(self.number_keys)

    def numbers(self, key: str, values: Sequence[str]) -> Float64 | None:
        """The numbers that a field's values spell, float64 [n], NaN for what is none; None for a field of words."""
        if key not in self._number_keys:
            return None
        return parse_numbers(values) if self.rules is None else numbers_of(values)

    def key_id(self, key: str) -> int:
        """The key's id, or ``UNK``."""
        return int(self.state["key_vocab"].get(key, UNK))

    def kind(self, key: str) -> FieldKind | None:
        """How the key's values are read; None for a key that fitting never saw."""
        kind: FieldKind | None = self.state["field_kind"].get(key)
        return kind

    def categorical_ids(self, key: str, values: Sequence[str]) -> Int64:
        """Value ids int64 [n]; a value that fitting never saw is ``UNK``."""
        ids = self.state["cat_vocab"].get(key, {})
        return np.fromiter((ids.get(value, UNK) for value in values), np.int64, len(values))

    def numeric_ids(self, key: str, numbers: Float64) -> Int64:
        """Value ids int64 [n] of numbers float64 [n]: bucket 0 is zero, what is not finite is ``UNK``."""
        buckets = np.searchsorted(self._edges[key], numbers, side="right") + 1
        buckets[numbers == 0] = 0
        return np.where(np.isfinite(numbers), self.state["binner_base"][key] + buckets, UNK)

    def outer_edges(self, key: str) -> tuple[float, float] | None:
        """Where the two open buckets of a numeric field begin: below the first number, and from the second on."""
        edges = self._edges.get(key)
        return None if edges is None or not len(edges) else (float(edges[0]), float(edges[-1]))

    def open_buckets(self, key: str) -> tuple[int, int]:
        """Value ids of a numeric field's buckets that have no lower or no upper edge."""
        base = int(self.state["binner_base"][key])
        return base + 1, base + len(self._edges[key]) + 1

    def piece_ids(self, values: Sequence[str], most: int) -> tuple[Int64, Int64, Int64]:
        """BPE ids of texts as :class:`~pragmatiq_triton.tokenizer.bpe.BpeEncoder` gives them, in the one id space."""
        if self.bpe is None:
            return np.zeros(0, np.int64), np.zeros(len(values) + 1, np.int64), np.zeros(len(values), np.int64)
        ids, offsets, unread = self.bpe(values, most)
        return ids + self.state["bpe_offset"], offsets, unread

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json``, ``bpe.json`` where there is one, and ``tokenizer.hash``."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.state, ensure_ascii=False, indent=1, sort_keys=True)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        if self.bpe_json:
            (folder / "bpe.json").write_text(self.bpe_json, encoding="utf-8")
        (folder / "tokenizer.hash").write_text(self.content_hash, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary":
        """Read a saved tokenizer and check it against its hash.

        Raises :class:`ArtifactError` naming the file that is missing, unreadable, of another format or altered.
        """
        path = folder / "tokenizer.json"
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            expected = (folder / "tokenizer.hash").read_text(encoding="utf-8").strip()
            bpe = folder / "bpe.json"
            bpe_json = bpe.read_text(encoding="utf-8") if bpe.exists() else None
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{folder}: expected a tokenizer folder (tokenizer.json, tokenizer.hash): {error}"
            ) from None
        found = state.get("format_version") if isinstance(state, dict) else None
        if found not in (1, FORMAT_VERSION):
            raise ArtifactError(
                f"{path}: expected format_version 1 or {FORMAT_VERSION}, got {found!r}; "
                "it was fitted by another version: use that one, or fit again"
            )
        vocabulary = cls(state, bpe_json)
        if vocabulary.content_hash != expected:
            raise ArtifactError(
                f"{folder}: the files hash to {vocabulary.content_hash}, tokenizer.hash says {expected}; "
                "they were altered, copy the folder again from where it was fitted"
            )
        return vocabulary


def parse_numbers(values: Sequence[str]) -> Float64:
    """Python's reading of numbers written as text, float64 [n]; what is none is NaN."""
    return np.fromiter(map(_parse_number, values), np.float64, len(values))


def _parse_number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("nan")
