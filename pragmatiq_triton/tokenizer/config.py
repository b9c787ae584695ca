"""The tokenizer's settings: what the YAML of ``pragmatiq tokenize --config`` may say."""

from typing import Any, Literal

import msgspec

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.text_encoders import TextEncoderSpec
from pragmatiq_triton.tokenizer.times import timezone_of


class TokenizerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of fitting and encoding; part of the tokenizer's hash.

    text_value_mode: ``bpe`` cuts text into byte-level pieces; ``embed`` makes each text field of an event one
        sentinel token whose frozen vector comes from ``text_encoder``. This alone switches the text branch on.
    text_encoder, text_encoder_dim, text_model, text_model_revision, text_prefix, trust_remote_code: the frozen encoder
        of ``embed``; see :class:`~pragmatiq_triton.text_encoders.TextEncoderSpec`.
    text_encoder_revision: what the encoder turned out to be when the tokenizer was fitted; written, not chosen.
    target_vocab: upper bound of the vocabulary, BPE pieces included; more pieces mean fewer tokens per text.
    bpe_min_frequency: a pair of pieces met less often is not merged.
    lowercase_text: folds case before BPE; fewer pieces, less information. ``embed`` always carries the raw string.
    categorical_threshold: a field with more distinct values, not numeric, is text.
    force_categorical, force_numeric: field names whose kind is decided here instead.
    n_buckets: percentile buckets of a numeric field, beside one for zero.
    numeric_min_cardinality: distinct values that a numeric field must exceed; unset means 4 * n_buckets.
    max_counter_distinct: distinct values remembered per field while fitting; bounds the memory of fitting.
    max_event_tokens, max_profile_tokens, max_events_per_user: what of a longer record the network sees.
    calendar_tz: the IANA zone in which hour and day are read.
    """

    text_value_mode: Literal["bpe", "embed"] = "bpe"
    text_encoder: str | None = None
    text_encoder_dim: int | None = None
    text_model: str | None = None
    text_model_revision: str | None = None
    text_prefix: str = ""
    text_encoder_revision: str | None = None
    trust_remote_code: bool = False
    target_vocab: int = 28_000
    bpe_min_frequency: int = 2
    lowercase_text: bool = False
    categorical_threshold: int = 1_000
    force_categorical: list[str] = []
    force_numeric: list[str] = []
    n_buckets: int = 64
    numeric_min_cardinality: int | None = None
    max_counter_distinct: int = 1_000_000
    max_event_tokens: int = 24
    max_profile_tokens: int = 200
    max_events_per_user: int = 6_500
    calendar_tz: str = "UTC"

    @property
    def embeds_text(self) -> bool:
        return self.text_value_mode == "embed"

    @property
    def text_encoder_spec(self) -> TextEncoderSpec:
        """The frozen encoder that ``embed`` asks for."""
        return TextEncoderSpec(
            encoder=self.text_encoder or "hash",
            dim=self.text_encoder_dim,
            text_model=self.text_model,
            revision=self.text_model_revision,
            trust_remote_code=self.trust_remote_code,
            prefix=self.text_prefix,
        )

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "TokenizerConfig":
        """Check settings read from YAML; :class:`ConfigError` names an unknown key and the choices."""
        unknown = sorted(set(settings) - set(cls.__struct_fields__))
        if unknown:
            raise ConfigError(
                f"unknown tokenizer setting {unknown[0]!r}; the choices are {', '.join(cls.__struct_fields__)}"
            )
        return cls.from_state(settings)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "TokenizerConfig":
        """Read a saved tokenizer's settings, ours or the upstream toolkit's; keys that only it knows do not matter."""
        try:
            config = msgspec.convert(state, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"tokenizer settings: {error}") from None
        timezone_of(config.calendar_tz)
        return config
