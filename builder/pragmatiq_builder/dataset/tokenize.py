"""``pragmatiq tokenize``: a raw data folder becomes a tokenized data set, chunk by chunk."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.dataset.arrays import ArrayFile
from pragmatiq_builder.dataset.columns import EncodableEvents, EncodableProfiles, profile_columns, read_event_columns
from pragmatiq_builder.dataset.field_counts import FieldCounters
from pragmatiq_builder.dataset.field_warnings import field_table
from pragmatiq_builder.dataset.fit import fit
from pragmatiq_builder.dataset.fitted_shares import fitted_shares
from pragmatiq_builder.dataset.store import FORMAT
from pragmatiq_builder.dataset.texts import TextStore
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw import check_columns, check_users, count_rows, read_profiles
from pragmatiq_builder.raw.empty_fields import EmptyFields
from pragmatiq_builder.raw.findings import Counted
from pragmatiq_builder.raw.likeness import likeness
from pragmatiq_builder.replacing import replaced_folder
from pragmatiq_triton.batch import Token, cu_seqlens
from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.text_encoders import TextEncoder, create_text_encoder
from pragmatiq_triton.text_encoders.trust import require_trust
from pragmatiq_triton.tokenizer import NO_TIME, TokenizerConfig, Vocabulary
from pragmatiq_triton.tokenizer.config import WITHOUT_MODEL
from pragmatiq_triton.tokenizer.fields import TextNumbering, cut_tails, encode_fields

TEXTS = "texts"
_FOLDERS = ("tokenizer", TEXTS, "users.parquet")


@dataclass(frozen=True)
class TokenizeSummary:
    """What a data set holds; ``unknown_values``: values of events and profiles that the vocabulary lacks."""

    users: int
    events: int
    tokens: int
    distinct_texts: int
    unknown_values: int
    vocab_size: int
    tokenizer_hash: str
    text_encoder: str | None


def tokenize(
    data: Path,
    out: Path,
    config: TokenizerConfig | None = None,
    *,
    tokenizer_dir: Path | None = None,
    text_model: Path | None = None,
    trusted: bool | None = None,
    progress: Progress = Silent(),
) -> TokenizeSummary:
    """Fit a tokenizer (or take the one in ``tokenizer_dir``), encode ``data`` and embed its distinct strings.

    ``trusted``: whether code may run that the tokenizer names, as of
    :func:`~pragmatiq_triton.text_encoders.create_text_encoder`. An older data set stays until the
    new one is complete. Vectors that were computed before an interruption are kept.

    Raises :class:`DataError` for raw data that breaks the contract, :class:`ConfigError` for settings that do nothing
    or name no field and for code that may not run, :class:`ArtifactError` for a folder ``out`` that holds something
    else and for a text model that is damaged or does not know the strings, and :class:`MissingDependencyError` for one
    that is not available.
    """
    with replaced_folder(out, "data set", _require_replaceable, keeps=(TEXTS,), progress=progress) as new:
        return _write(data, new, out, config, tokenizer_dir, text_model, trusted, progress)


def _write(
    data: Path,
    new: Path,
    out: Path,
    config: TokenizerConfig | None,
    tokenizer_dir: Path | None,
    text_model: Path | None,
    trusted: bool | None,
    progress: Progress,
) -> TokenizeSummary:
    """Write the data set into the folder ``new``, which will be ``out``."""
    check_columns(data)
    n_rows = count_rows(data, "events")
    vocabulary = Vocabulary.load(tokenizer_dir) if tokenizer_dir else None
    before = fitted_shares(tokenizer_dir) if tokenizer_dir else None
    config = vocabulary.config if vocabulary else config or TokenizerConfig()
    if text_model:
        _require_text_model(config)
    spec = config.fitted_text_encoder_spec if vocabulary else config.text_encoder_spec
    encoder = None
    if config.embeds_text:
        require_trust(spec, trusted, str(tokenizer_dir or "the settings"))
        encoder = create_text_encoder(spec, text_model_folder=text_model, trusted=trusted)
    if vocabulary is None:
        progress.stage("Fitting the tokenizer", n_rows)
        vocabulary = fit(data, _pinned(config, encoder), progress)
    elif encoder is not None:
        _check_encoder(config, encoder)
    vocabulary.save(new / "tokenizer")
    progress.stage("Encoding events", n_rows)
    found = Counted(data)
    with _Writer(new, vocabulary) as writer:
        for events in read_event_columns(data, vocabulary.rules, vocabulary.times, found):
            writer.add_events(events)
            progress.advance(len(events.chunk.ts))
        for profiles in read_profiles(data, findings=found, times=vocabulary.times):
            writer.add_profiles(profile_columns(profiles, vocabulary.rules))
        check_users(data, *writer.users())
        writer.finish()
    if encoder is not None:
        _embed(new / TEXTS, out / TEXTS, writer.texts.texts, encoder, text_model, progress)
    else:
        shutil.rmtree(new / TEXTS, ignore_errors=True)
    summary = TokenizeSummary(
        users=len(writer.user_ids),
        events=writer.token_offsets.n_rows - 1,
        tokens=writer.tokens.n_rows,
        distinct_texts=len(writer.texts.texts),
        unknown_values=writer.fields.unknown_values,
        vocab_size=vocabulary.size,
        tokenizer_hash=vocabulary.content_hash,
        text_encoder=encoder.name if encoder else None,
    )
    reading = [*found.lines, *writer.warnings()]
    fitted = tokenizer_dir is None
    field_table(writer.fields, vocabulary, fitted=fitted, before=before, reading=reading).save(new)
    (new / "meta.json").write_text(json.dumps({"format": FORMAT, **asdict(summary)}, indent=1), encoding="utf-8")
    return summary


def _embed(
    new: Path, earlier: Path, texts: list[str], encoder: TextEncoder, text_model: Path | None, progress: Progress
) -> None:
    """Write the strings and their vectors to ``new``; those of an interrupted or the ``earlier`` run are kept."""
    if not new.exists() and earlier.is_dir():
        try:
            TextStore.load(earlier).link(new)
        except ArtifactError:
            # Not all of them are there; a copy, since new ones are added.
            shutil.rmtree(new, ignore_errors=True)
            shutil.copytree(earlier, new)
    store = TextStore.create(new, texts, encoder, text_model)
    try:
        store.embed(encoder, progress)
    except BaseException:
        if store.n_embedded:
            progress.say(
                f"{store.n_embedded:,} of {len(store):,} vectors are kept in {new}; the same command goes on with the "
                "rest"
            )
        else:
            shutil.rmtree(new, ignore_errors=True)
        raise


class _Writer:
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

    def __enter__(self) -> "_Writer":
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


def _require_replaceable(place: Path) -> None:
    """Raise :class:`ArtifactError` unless ``place`` is empty or holds nothing but a tokenized data set."""
    entries = sorted(entry.name for entry in place.iterdir())
    if entries and not (place / "tokenizer").is_dir():
        raise ArtifactError(
            f"{place}: expected an empty folder or a tokenized data set to replace; choose another --out"
        )
    foreign = [name for name in entries if name not in _FOLDERS and not name.endswith((".npy", ".json"))]
    if foreign:
        raise ArtifactError(
            f"{place}: holds {', '.join(foreign[:5])}, which is of no tokenized data set and would be lost; move that "
            "away, or choose another --out"
        )


def _require_text_model(config: TokenizerConfig) -> None:
    """Raise :class:`ConfigError` for ``--text-model`` where no model is asked anything."""
    if not config.embeds_text:
        raise ConfigError(
            "--text-model does nothing with text_value_mode: bpe, which cuts text into pieces; leave it out, or give "
            "--config a file with text_value_mode: embed"
        )
    if (encoder := config.text_encoder_spec.encoder) in WITHOUT_MODEL:
        raise ConfigError(
            f"--text-model does nothing with text_encoder: {encoder}, which has no model; leave it out, or choose "
            "another text_encoder"
        )


def _pinned(config: TokenizerConfig, encoder: TextEncoder | None) -> TokenizerConfig:
    """The settings with what the encoder turned out to be, so that the tokenizer's hash covers its vectors."""
    if encoder is None:
        return config
    return msgspec.structs.replace(
        config,
        text_encoder=config.text_encoder_spec.encoder,
        text_encoder_dim=encoder.dim,
        text_encoder_revision=encoder.revision,
    )


def _check_encoder(config: TokenizerConfig, encoder: TextEncoder) -> None:
    if config.text_encoder_revision not in (None, encoder.revision):
        raise ArtifactError(
            f"the tokenizer was fitted with {config.text_encoder!r} of revision {config.text_encoder_revision}, "
            f"got revision {encoder.revision}; give the same model with --text-model"
        )
