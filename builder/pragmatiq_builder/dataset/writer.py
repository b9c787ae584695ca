"""The arrays of a tokenized data set, written chunk by chunk."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.dataset.arrays import ArrayFile
from pragmatiq_builder.dataset.columns import EncodableEvents, EncodableProfiles
from pragmatiq_builder.dataset.field_counts import FieldCounters
from pragmatiq_builder.raw.empty_fields import EmptyFields
from pragmatiq_builder.raw.likeness import likeness
from pragmatiq_triton.batch import Token, cu_seqlens
from pragmatiq_triton.tokenizer import NO_TIME, Vocabulary
from pragmatiq_triton.tokenizer.fields import TextNumbering, cut_tails, encode_fields


class DatasetWriter:
    """Appends encoded chunks to the arrays of a data set."""

    def __init__(self, out: Path, vocabulary: Vocabulary) -> None:
        self.out = out
        self.vocabulary = vocabulary
        self.texts = TextNumbering()
        self.user_ids: list[str] = []
        self.fields = FieldCounters(vocabulary)
        self._numbers: dict[str, int] = {}
        self._event_counts: list[int] = []
        self._profile_rows: dict[int, int] = {}
        self._n_profiles = 0
        self._newest_ts: list[int] = []
        self._judged_too_early = 0
        self._empty = EmptyFields()
        self._files = ExitStack()

    def __enter__(self) -> "DatasetWriter":
        self.tokens = self._file("tokens", np.int32, (4,))
        self._token_numbers = self._file("numbers", np.float32)
        self.token_offsets = self._file("token_cu_seqlens", np.int64)
        self._event_ts = self._file("event_ts", np.int64)
        self._event_ids = self._file("event_ids", np.uint64)
        self._profile = self._file("profile", np.int32, (3,))
        self._item_offsets = self._file("item_cu_seqlens", np.int64)
        self._item_ts = self._file("item_ts", np.int64)
        self._profile_offsets = self._file("profile_item_cu_seqlens", np.int64)
        self._as_of = self._file("profile_as_of", np.int64)
        for offsets in (self.token_offsets, self._item_offsets, self._profile_offsets):
            offsets.append(np.zeros(1, np.int64))
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def add_events(self, events: EncodableEvents) -> None:
        chunk, n_fields = events.chunk, int(events.field_counts.sum())
        texts = self.texts if self.vocabulary.config.embeds_text else None
        most = self.vocabulary.config.max_event_tokens
        fields = encode_fields(events.columns, n_fields, self.vocabulary, texts, most)
        self.fields.add_events(events, fields)
        # The source is one of an event's fields here.
        self._empty.add_events(chunk, events.field_counts > 1)
        lengths = np.add.reduceat(fields.counts, cu_seqlens(events.field_counts)[:-1])
        kept, lengths = cut_tails(lengths, self.vocabulary.config.max_event_tokens)
        tokens = fields.tokens[kept]
        self.token_offsets.append(cu_seqlens(lengths)[1:] + self.tokens.n_rows)
        self.tokens.append(tokens)
        self._token_numbers.append(fields.numbers[kept])
        self._event_ts.append(chunk.ts)
        self._event_ids.append(chunk.event_ids)
        self._event_counts.extend(chunk.event_counts.tolist())
        self._newest_ts.extend(chunk.ts[cu_seqlens(chunk.event_counts)[1:] - 1].tolist())
        for user_id in chunk.user_ids:
            self._numbers[user_id] = len(self.user_ids)
            self.user_ids.append(user_id)

    def add_profiles(self, profiles: EncodableProfiles) -> None:
        chunk, times = profiles.chunk, profiles.item_times
        most = self.vocabulary.config.profile_reach
        items = encode_fields(profiles.columns, len(times), self.vocabulary, None, most)
        self.fields.add_profiles(profiles, items)
        self._empty.add_profiles(chunk)
        self._item_offsets.append(cu_seqlens(items.counts)[1:] + self._profile.n_rows)
        self._profile.append(items.tokens[:, : Token.TEXT])
        self._profile_offsets.append(cu_seqlens(profiles.item_counts)[1:] + self._item_ts.n_rows)
        item_ts = np.full(len(times), NO_TIME, np.int64)
        item_ts[times >= 0] = chunk.milestone_ts[times[times >= 0]]
        self._item_ts.append(item_ts)
        self._as_of.append(chunk.as_of)
        for user_id, as_of in zip(chunk.user_ids, chunk.as_of.tolist(), strict=True):
            user = self._numbers.setdefault(user_id, len(self.user_ids))
            if user < len(self._newest_ts):
                self._judged_too_early += 0 < as_of < self._newest_ts[user]
            if user == len(self.user_ids):
                self.user_ids.append(user_id)
                self._event_counts.append(0)
            self._profile_rows[user] = self._n_profiles
            self._n_profiles += 1

    def users(self) -> tuple[set[str], set[str]]:
        """Those with events, and those with a profile."""
        return {*self.user_ids[: len(self._newest_ts)]}, {self.user_ids[user] for user in self._profile_rows}

    def warnings(self) -> Iterator[str]:
        """What is odd about events and profiles beside their values."""
        for file, what, count in self._empty.findings():
            yield f"{file}: {what} (in all: {count:,})"
        with_events, with_profile = self.users()
        if with_profile and (lacking := with_events - with_profile):
            alike = likeness(lacking, with_profile - with_events)
            yield f"profiles.parquet: {len(lacking):,} of {len(with_events):,} users with events have no profile{alike}"
        if self._judged_too_early:
            yield (
                f"profiles.parquet: as_of is before the newest event of {self._judged_too_early:,} users; events after "
                "the moment of judgement are read all the same"
            )

    def finish(self) -> None:
        rows = [self._profile_rows.get(user, -1) for user in range(len(self.user_ids))]
        np.save(self.out / "profile_rows.npy", np.asarray(rows, np.int64))
        np.save(self.out / "event_cu_seqlens.npy", cu_seqlens(self._event_counts))
        pq.write_table(pa.table({"user_id": pa.array(self.user_ids, pa.string())}), self.out / "users.parquet")

    def _file(self, name: str, dtype: type[np.number], row_shape: tuple[int, ...] = ()) -> ArrayFile:
        return self._files.enter_context(ArrayFile(self.out / f"{name}.npy", dtype, row_shape))
