"""``pragmatiq warm``: the vectors of a book of customers' events, computed before a server is asked for them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pragmatiq_builder.dataset.unknown import UnknownValues
from pragmatiq_builder.export.configs import TEXT_EMBEDDER, TOKENIZER
from pragmatiq_builder.export.manifest import read_manifest
from pragmatiq_builder.export.repository import VERSION_FOLDER
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw.records import read_records
from pragmatiq_triton.batch import Float32, Token, UserFeatures, collate, newest_events
from pragmatiq_triton.cache.folder import make_cache_folder
from pragmatiq_triton.cache.snapshot import EVENT_VECTORS, Snapshot
from pragmatiq_triton.cache.vectors import VectorCache, as_bytes
from pragmatiq_triton.errors import ArtifactError, RecordError
from pragmatiq_triton.finite import require_finite
from pragmatiq_triton.operator_settings import changed, read_model_settings, read_settings_file
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.scorer.sessions import EVENT_ENCODER
from pragmatiq_triton.serving.embedding import TextEmbedderStage
from pragmatiq_triton.serving.parameters import ScorerParameters, read_parameters
from pragmatiq_triton.serving.tokenizing import load_tokenizer
from pragmatiq_triton.tensors import TEXT_VECTORS, pack_texts
from pragmatiq_triton.text_encoders.trust import require_trusted_repository
from pragmatiq_triton.time_range import TimeRange
from pragmatiq_triton.tokenizer.cached import CachedTokenizer
from pragmatiq_triton.tokenizer.tokenizer import number_texts

EVENTS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class WarmedScorer:
    """A scorer's snapshot: its entries, their bytes in a server's memory and how many of these there may be.

    ``evicted`` entries had no room. Of the customers' ``events`` that the scorer reads, ``hits`` are answered from it.
    """

    entries: int
    bytes: int
    capacity_bytes: int
    evicted: int
    events: int
    hits: int


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of a book: ``refused`` of its ``records`` break the contract, the first as ``first_refusal`` says.

    ``unknown_values`` of its ``values`` are [UNK] to the tokenizer, ``unknown_shares`` says of which of its fields, and
    ``warnings`` what that may mean, a line each.
    """

    records: int
    refused: int
    first_refusal: str | None
    values: int
    unknown_values: int
    unknown_shares: dict[str, float]
    warnings: list[str]
    scorers: dict[str, WarmedScorer]


def warm(
    repository: Path,
    data: Path,
    folder: Path,
    users: int | None = None,
    progress: Progress = Silent(),
    *,
    trusted: bool | None = None,
    settings_file: Path | None = None,
) -> Warmed:
    """Add the vectors of the events of the first ``users`` customers to the snapshots in the cache folder ``folder``.

    ``data``: a raw data folder or a file with one JSON record per line. Where the events do not fit into a scorer's
    ``event_cache_bytes``, those read last stay. An interrupted call keeps what it has computed. ``trusted``:
    whether code may run that the repository names, as of :func:`~pragmatiq_triton.text_encoders.create_text_encoder`.
    ``settings_file``: the server's, over which variables win as they do there.

    Raises :class:`ArtifactError` where ``repository`` is none that this version exported, and
    :class:`~pragmatiq_triton.errors.ConfigError` where ``folder`` cannot hold the snapshots.
    """
    read_manifest(repository)
    models = [path.parents[1].name for path in sorted(repository.glob(f"*/{VERSION_FOLDER}/{EVENT_ENCODER}"))]
    parameters = {model: config_parameters(repository, model) for model in (TOKENIZER, *models)}
    for model in models:
        if not parameters[model].get(EVENT_VECTORS):
            raise ArtifactError(
                f"{repository / model / 'config.pbtxt'}: expected the parameter {EVENT_VECTORS}; export the run again"
            )
    of_operator = read_model_settings(repository, read_settings_file(settings_file), os.environ, str(settings_file))
    laid = changed(of_operator)
    parameters = {model: values | laid.get(model, {}) for model, values in parameters.items()}
    require_trusted_repository(repository, trusted)
    make_cache_folder(folder, "the cache folder")
    tokenizer = load_tokenizer(repository / TOKENIZER / VERSION_FOLDER, parameters[TOKENIZER], folder)
    book = _Book(data, users, tokenizer, progress)
    embedder = None
    if (repository / TEXT_EMBEDDER).exists():
        settings = config_parameters(repository, TEXT_EMBEDDER) | laid.get(TEXT_EMBEDDER, {})
        embedder = TextEmbedderStage.load(repository / TEXT_EMBEDDER / VERSION_FOLDER, settings, trusted)
    scorers = {}
    for model in models:
        its = read_parameters(ScorerParameters, parameters[model])
        scorer = Scorer(repository / model / VERSION_FOLDER, threads=its.n_threads)
        scorers[model] = _warm(model, its, folder, book, _EventEncoder(scorer, embedder))
    unknown = book.unknown
    return Warmed(
        records=book.records,
        refused=book.refused,
        first_refusal=book.first_refusal,
        values=unknown.n_values,
        unknown_values=unknown.n_unknown,
        unknown_shares=unknown.shares(),
        warnings=unknown.warnings(),
        scorers=scorers,
    )


class _Book:
    """Customers' records, read and tokenized anew each time."""

    def __init__(self, data: Path, users: int | None, tokenizer: CachedTokenizer, progress: Progress) -> None:
        self.records = self.refused = 0
        self.first_refusal: str | None = None
        self.unknown = UnknownValues(tokenizer.vocabulary)
        self._data = data
        self._users = users
        self._tokenizer = tokenizer
        self._progress = progress

    def batches(self, title: str, most: int) -> Iterator[list[UserFeatures]]:
        """Customers with their newest ``most`` events, 0 for all."""
        self._progress.stage(title, self._users)
        batch: list[UserFeatures] = []
        n_events = 0
        for user in self._customers():
            batch.append(newest_events(user, most) if most else user)
            n_events += len(batch[-1].events)
            if n_events >= EVENTS_AT_ONCE:
                yield batch
                batch, n_events = [], 0
        if batch:
            yield batch

    def _customers(self) -> Iterator[UserFeatures]:
        self.records = self.refused = 0
        self.unknown = UnknownValues(self._tokenizer.vocabulary)
        for raw in islice(_read(self._data, self._tokenizer.times), self._users):
            self.records += 1
            try:
                user = self._tokenizer(raw)
            except RecordError as error:
                self.refused += 1
                self.first_refusal = self.first_refusal or f"record {self.records}: {error}"
            else:
                self.unknown.add(raw, user)
                yield user
            self._progress.advance(1)


class _EventEncoder:
    """From customers to their events' vectors, through the graphs that serve them."""

    def __init__(self, scorer: Scorer, embedder: TextEmbedderStage | None) -> None:
        self.dim = scorer.dim
        self._scorer = scorer
        self._embedder = embedder

    def encode(self, users: list[UserFeatures], cache: VectorCache) -> int:
        """Put the events that ``cache`` lacks there, each content once; returns how many."""
        batch = collate(users, [np.zeros((len(user.texts), 0), np.float32) for user in users])
        # At its last place: what was read last stays longest.
        rows = np.sort(list({key: row for row, key in enumerate(as_bytes(batch.event_keys))}.values())).astype(np.int64)
        rows = rows[cache.take(batch.event_keys[rows], np.empty((len(rows), self.dim), np.float32))]
        if not len(rows):
            return 0
        tokens = batch.tokens_of(rows)
        texts = [text for user in users for text in user.texts]
        numbers = tokens[:, Token.TEXT]
        new = UserFeatures(
            tokens,
            batch.events[rows],
            profile=np.zeros((0, 3), np.int32),
            profile_times=np.zeros(0, np.float32),
            texts=number_texts(tokens, [texts[number] for number in numbers[numbers >= 0].tolist()]),
            event_keys=batch.event_keys[rows],
        )
        vectors = self._scorer.event_vectors(collate([new], [self._text_vectors(new)] if self._embedder else []))
        require_finite("the events' vectors", vectors, "the repository is damaged; export the run again")
        cache.put(new.event_keys, vectors)
        return len(rows)

    def _text_vectors(self, user: UserFeatures) -> Float32:
        assert self._embedder
        (answer,) = self._embedder([pack_texts([user])])
        if isinstance(answer, Exception):
            raise answer
        vectors: Float32 = answer[TEXT_VECTORS][0]
        return vectors


def _warm(model: str, its: ScorerParameters, folder: Path, book: _Book, encoder: _EventEncoder) -> WarmedScorer:
    max_events, cache_bytes = its.max_events, its.event_cache_bytes
    snapshot = Snapshot(folder, its.event_vectors)
    cache = VectorCache(encoder.dim, cache_bytes)
    snapshot.restore(cache)
    n_entries = len(cache)
    try:
        for users in book.batches(f"Encoding events for {model}", max_events):
            n_entries += encoder.encode(users, cache)
        evicted = n_entries - len(cache)
    finally:
        snapshot.keep(cache)

    del cache
    kept = VectorCache(encoder.dim, cache_bytes)
    snapshot.restore(kept)
    for users in book.batches(f"Checking {model}", max_events):
        keys = collate(users, []).event_keys
        kept.take(keys, np.empty((len(keys), encoder.dim), np.float32))
    return WarmedScorer(len(kept), kept.n_bytes, cache_bytes, evicted, kept.hits + kept.misses, kept.hits)


def _read(data: Path, times: TimeRange) -> Iterator[bytes]:
    """The records of a raw data folder, or of a file's lines that are not empty."""
    if data.is_dir():
        yield from map(msgspec.json.encode, read_records(data, times))
        return
    with data.open("rb") as lines:
        yield from (line for line in lines if line.strip())


def config_parameters(repository: Path, model: str) -> dict[str, str]:
    """What the config of ``model`` sets; :class:`ArtifactError` where it cannot be read."""
    path = repository / model / "config.pbtxt"
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ArtifactError(f"{path}: expected a model's config: {error}; export the run again") from None
    return {name: value.string_value for name, value in config.parameters.items()}
