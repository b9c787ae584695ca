"""The tokenized data set on disk: what ``tokenize`` writes and training reads.

Times are absolute and nothing is cut to a number of events, so a history can be re-read as of any earlier moment.

    TOK/meta.json                 written last: its absence marks an unfinished data set
    TOK/tokenizer/                the vocabulary's files
    TOK/users.parquet             user_id, in the order of the arrays
    TOK/tokens.npy                int32 [n_tokens, 4]: key id, value id, position, text number (-1: not text)
    TOK/fields.json               what each field holds and what becomes of it
    TOK/numbers.npy               float32 [n_tokens]: the value of a field of numbers as it was, NaN elsewhere
    TOK/token_cu_seqlens.npy      int64 [n_events + 1]: tokens of each event
    TOK/event_ts.npy              int64 [n_events], microseconds
    TOK/event_ids.npy             uint64 [n_events], hashes of the events' ids, 0 without one; older data sets have none
    TOK/event_cu_seqlens.npy      int64 [n_users + 1]: events of each user
    TOK/profile.npy, item_cu_seqlens.npy, item_ts.npy, profile_item_cu_seqlens.npy, profile_as_of.npy: the profiles
    TOK/profile_rows.npy          int64 [n_users]: each user's row among the profiles, -1 for none
    TOK/texts/                    the distinct strings, and their frozen vectors (embed data only)
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.dataset.arrays import map_array
from pragmatiq_builder.dataset.field_table import FieldTable
from pragmatiq_builder.dataset.texts import TextStore
from pragmatiq_builder.raw.ids import UInt64
from pragmatiq_triton.batch import Batch, Int64, Token, UserFeatures, collate
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.time_range import TimeRange
from pragmatiq_triton.tokenizer import EncodedRecord, Vocabulary, assemble
from pragmatiq_triton.tokenizer.fields import SOURCE_KEY

FORMAT = 2
# The arrays that are not int64 [n]: their type and the shape of a row.
_ROWS: dict[str, tuple[type[np.number[Any]], tuple[int, ...]]] = {
    "tokens": (np.int32, (4,)),
    "numbers": (np.float32, ()),
    "profile": (np.int32, (3,)),
    "event_ids": (np.uint64, ()),
}


class TokenizedDataset:
    """A tokenized data set, mapped into memory; users are numbered 0..n_users - 1.

    Raises :class:`ArtifactError` where the folder is not one, is unfinished, or its tokenizer was altered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ArtifactError(
                f"{folder}: expected a finished tokenized data set (meta.json); run `pragmatiq tokenize`"
            ) from None
        if not isinstance(self.meta, dict):
            raise ArtifactError(f"{folder / 'meta.json'}: expected an object; tokenize again")
        if self.meta.get("format") != FORMAT:
            raise ArtifactError(
                f"{folder}: expected data set format {FORMAT}, got {self.meta.get('format')!r}; tokenize again"
            )
        self.tokenizer_dir = folder / "tokenizer"
        self.vocabulary = Vocabulary.load(self.tokenizer_dir)
        if self.meta.get("tokenizer_hash") != self.tokenizer_hash:
            raise ArtifactError(
                f"{folder}: was tokenized with {self.meta.get('tokenizer_hash')}, "
                f"its tokenizer is {self.tokenizer_hash}; tokenize again"
            )
        self.config = self.vocabulary.config
        self._tokens = self._array("tokens")
        self._numbers = self._array("numbers")
        self._token_cu_seqlens = self._array("token_cu_seqlens")
        self._event_ts = self._array("event_ts")
        self._event_cu_seqlens = self._array("event_cu_seqlens")
        self._profile_rows = self._array("profile_rows")
        self._require_lengths()

    @property
    def tokenizer_hash(self) -> str:
        return self.vocabulary.content_hash

    @property
    def times(self) -> TimeRange:
        """Which moments are plausible for the tokenizer."""
        return self.vocabulary.times

    @property
    def vocab_size(self) -> int:
        return self.vocabulary.size

    @property
    def n_users(self) -> int:
        return len(self._event_cu_seqlens) - 1

    @property
    def text_encoder(self) -> str | None:
        """Name of the frozen encoder, None for BPE data."""
        return self.texts.encoder_name if self.texts else None

    @property
    def text_dim(self) -> int:
        """Length of a frozen vector, 0 for BPE data."""
        return self.texts.dim if self.texts else 0

    @cached_property
    def texts(self) -> TextStore | None:
        """The distinct strings and their vectors; None for BPE data."""
        return TextStore.load(self.folder / "texts") if self.config.embeds_text else None

    @cached_property
    def user_ids(self) -> list[str]:
        path = self.folder / "users.parquet"
        try:
            ids: list[str] = pq.read_table(path)["user_id"].to_pylist()
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise ArtifactError(f"{path}: cannot be read: {' '.join(str(error).split())}; tokenize again") from None
        if len(ids) != self.n_users:
            raise ArtifactError(f"{path}: expected {self.n_users} users, got {len(ids)}; tokenize again")
        return ids

    @cached_property
    def token_counts(self) -> Int64:
        """Tokens of each user's newest ``max_events_per_user`` events: what the network sees, int64 [n_users]."""
        last = self._event_cu_seqlens[1:]
        first = np.maximum(self._event_cu_seqlens[:-1], last - self.config.max_events_per_user)
        counts: Int64 = self._token_cu_seqlens[last] - self._token_cu_seqlens[first]
        return counts

    def encoded(self, user: int) -> EncodedRecord:
        """The user's whole history with absolute times; the last token column holds data-set-wide text numbers."""
        first, last = int(self._event_cu_seqlens[user]), int(self._event_cu_seqlens[user + 1])
        offsets = self._token_cu_seqlens[first : last + 1]
        row = int(self._profile_rows[user])
        items = self._profile_items(row)
        return EncodedRecord(
            tokens=self._tokens[offsets[0] : offsets[-1]],
            numbers=self._numbers[offsets[0] : offsets[-1]],
            event_lengths=np.diff(offsets),
            event_ts=self._event_ts[first:last],
            profile=self._profile[items[0] : items[-1]],
            item_lengths=np.diff(items),
            item_ts=self._item_ts[self._profile_cu_seqlens[row] : self._profile_cu_seqlens[row + 1]]
            if row >= 0
            else np.zeros(0, np.int64),
            as_of=int(self._profile_as_of[row]) if row >= 0 else 0,
        )

    def event_times(self, user: int) -> Int64:
        """When the user's events were, microseconds, ascending: int64 [n_events]."""
        times: Int64 = self._event_ts[self._event_cu_seqlens[user] : self._event_cu_seqlens[user + 1]]
        return times

    def event_ids(self, user: int) -> UInt64:
        """Hashes of the ids of the user's events, uint64 [n_events], 0 without one."""
        first, last = (int(self._event_cu_seqlens[user + i]) for i in (0, 1))
        ids: UInt64 = np.zeros(last - first, np.uint64) if self._event_ids is None else self._event_ids[first:last]
        return ids

    def event_sources(self, user: int) -> Int64:
        """Numbers of the sources of the user's events, int64 [n_events]."""
        first, last = (int(self._event_cu_seqlens[user + i]) for i in (0, 1))
        sources: Int64 = self._tokens[self._token_cu_seqlens[first:last], Token.VALUE].astype(np.int64)
        return sources

    def source_name(self, source: int) -> str:
        """The name behind a number of :meth:`event_sources`."""
        names = self.vocabulary.state["cat_vocab"].get(SOURCE_KEY, {})
        return next((name for name, value in names.items() if value == source), f"source {source}")

    def batch(self, users: Sequence[int]) -> Batch:
        """These users as one packed batch, with the vectors of their distinct strings."""
        return self.collate([assemble(self.encoded(user), self.config) for user in users])

    def collate(self, users: Sequence[UserFeatures]) -> Batch:
        """Users whose text numbers are the data set's, as one packed batch."""
        batch = collate(users, [])
        if self.texts is None:
            return batch
        is_text = batch.tokens[:, Token.TEXT] >= 0
        numbers, local = np.unique(batch.tokens[is_text, Token.TEXT], return_inverse=True)
        batch.tokens[is_text, Token.TEXT] = local
        return replace(batch, text_vectors=self.texts.vectors(numbers))

    def link_texts(self, folder: Path) -> None:
        """Make the strings and vectors, if there are any, appear in ``folder`` too."""
        if self.texts:
            self.texts.link(folder)

    def copy_fields(self, folder: Path) -> None:
        """Write the table of fields, where there is one, into ``folder``."""
        if table := FieldTable.load(self.folder):
            table.save(folder)

    def _profile_items(self, row: int) -> npt.NDArray[np.int64]:
        if row < 0:
            return np.zeros(1, np.int64)
        offsets: npt.NDArray[np.int64] = self._item_cu_seqlens[
            self._profile_cu_seqlens[row] : self._profile_cu_seqlens[row + 1] + 1
        ]
        return offsets

    def _array(self, name: str) -> npt.NDArray[Any]:
        path = self.folder / f"{name}.npy"
        array = map_array(path)
        dtype, row = _ROWS.get(name, (np.int64, ()))
        if array.dtype != dtype or array.ndim != 1 + len(row) or array.shape[1:] != row:
            expected = ", ".join(["n", *map(str, row)])
            got = f"{array.dtype} {list(array.shape)}"
            raise ArtifactError(f"{path}: expected {np.dtype(dtype)} [{expected}], got {got}; tokenize again")
        return array

    def _require_lengths(self) -> None:
        """Raise :class:`ArtifactError` where the arrays are not of one data set."""
        tokens, events, users = len(self._tokens), len(self._event_ts), self.n_users
        for name, found, expected in (
            ("numbers", len(self._numbers), tokens),
            ("token_cu_seqlens", len(self._token_cu_seqlens), events + 1),
            ("event_cu_seqlens", max(users, 0), users),
            ("profile_rows", len(self._profile_rows), users),
            ("event_ids", events if self._event_ids is None else len(self._event_ids), events),
        ):
            if found != expected:
                raise ArtifactError(
                    f"{self.folder / name}.npy: expected {expected} rows beside the other arrays, got {found}; "
                    "tokenize again"
                )
        for name, offsets, last in (
            ("token_cu_seqlens", self._token_cu_seqlens, tokens),
            ("event_cu_seqlens", self._event_cu_seqlens, events),
        ):
            if offsets[0] != 0 or offsets[-1] != last:
                raise ArtifactError(
                    f"{self.folder / name}.npy: expected offsets from 0 to {last}, got {offsets[0]} to {offsets[-1]}; "
                    "tokenize again"
                )

    @cached_property
    def _event_ids(self) -> UInt64 | None:
        return self._array("event_ids") if (self.folder / "event_ids.npy").exists() else None

    @cached_property
    def _profile(self) -> npt.NDArray[np.int32]:
        return self._array("profile")

    @cached_property
    def _item_cu_seqlens(self) -> Int64:
        return self._array("item_cu_seqlens")

    @cached_property
    def _item_ts(self) -> Int64:
        return self._array("item_ts")

    @cached_property
    def _profile_cu_seqlens(self) -> Int64:
        return self._array("profile_item_cu_seqlens")

    @cached_property
    def _profile_as_of(self) -> Int64:
        return self._array("profile_as_of")
