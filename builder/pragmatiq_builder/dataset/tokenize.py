"""``pragmatiq tokenize``: a raw data folder becomes a tokenized data set, chunk by chunk."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from pragmatiq_builder.dataset.columns import profile_columns, read_event_columns
from pragmatiq_builder.dataset.field_warnings import field_table
from pragmatiq_builder.dataset.fit import fit
from pragmatiq_builder.dataset.fitted_shares import fitted_shares
from pragmatiq_builder.dataset.store import FORMAT
from pragmatiq_builder.dataset.texts import TextStore
from pragmatiq_builder.dataset.writer import DatasetWriter
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw import check_columns, check_users, count_rows, read_profiles
from pragmatiq_builder.raw.findings import Counted
from pragmatiq_builder.replacing import replaced_folder
from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.text_encoders import TextEncoder, create_text_encoder
from pragmatiq_triton.text_encoders.trust import require_trust
from pragmatiq_triton.tokenizer import TokenizerConfig, Vocabulary
from pragmatiq_triton.tokenizer.config import WITHOUT_MODEL

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
    with DatasetWriter(new, vocabulary) as writer:
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
