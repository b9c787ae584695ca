"""The tokenizer's settings: what the YAML of ``pragmatiq tokenize --config`` may say."""

from typing import Any, Literal

import msgspec

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.text_encoders import TextEncoderSpec
from pragmatiq_triton.text_encoders.pooling import pooling_of
from pragmatiq_triton.time_range import PLAUSIBLE
from pragmatiq_triton.tokenizer.times import timezone_of
from pragmatiq_triton.tokenizer.values import MISSING_VALUES, ValueRules

FIELD_LISTS = ("force_categorical", "force_numeric", "force_text", "drop_fields")
"""The settings that name fields; a field is in one of them at most."""

LEAST = {
    "target_vocab": 1,
    "bpe_min_frequency": 0,
    "categorical_threshold": 0,
    "n_buckets": 1,
    "numeric_min_cardinality": 0,
    "max_counter_distinct": 1,
    "max_event_tokens": 1,
    "max_profile_tokens": 0,
    "max_events_per_user": 1,
}
"""The smallest number that each setting may be: an event has at least the token of its source."""

TEXT_BRANCH = (
    "text_encoder",
    "text_encoder_dim",
    "text_model",
    "text_model_revision",
    "text_prefix",
    "trust_remote_code",
)
"""The settings that mean something with ``text_value_mode: embed`` alone."""

WITHOUT_MODEL = ("hash", "upstream-hash")
"""The text encoders that are functions, to which the settings of a model mean nothing."""


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
    force_categorical, force_numeric, force_text: field names whose kind is decided here instead; a field in
        ``force_text`` is no number for features either.
    drop_fields: names of fields, attributes and milestones that are not read at all.
    missing_values: what counts as no value, beside null and white space; compared exactly, without the white space
        around a value. A missing value leaves no token, in fitting, encoding and serving alike.
    n_buckets: percentile buckets of a numeric field, beside one for zero.
    numeric_min_cardinality: distinct values that a numeric field must exceed; unset means 4 * n_buckets.
    max_counter_distinct: distinct values remembered per field while fitting; bounds the memory of fitting.
    max_event_tokens, max_profile_tokens, max_events_per_user: what of a longer record the network sees.
    calendar_tz: the IANA zone in which hour and day are read.
    earliest_time: the date before which no event and no moment of judgement is plausible.
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
    force_text: list[str] = []
    drop_fields: list[str] = []
    missing_values: list[str] = msgspec.field(default_factory=lambda: list(MISSING_VALUES))
    n_buckets: int = 64
    numeric_min_cardinality: int | None = None
    max_counter_distinct: int = 1_000_000
    max_event_tokens: int = 24
    max_profile_tokens: int = 200
    max_events_per_user: int = 6_500
    calendar_tz: str = "UTC"
    earliest_time: str = "1971-01-01"

    @property
    def embeds_text(self) -> bool:
        return self.text_value_mode == "embed"

    @property
    def value_rules(self) -> ValueRules:
        """How the values of a tokenizer that is fitted from now on are read."""
        missing = frozenset(("", *(spelling.strip() for spelling in self.missing_values)))
        return ValueRules(missing, frozenset(self.drop_fields))

    @property
    def profile_reach(self) -> int:
        """Tokens of one profile item that matter: with one over the limit, it is left out with all that follow it."""
        return self.max_profile_tokens + 1

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

    @property
    def fitted_text_encoder_spec(self) -> TextEncoderSpec:
        """The frozen encoder of a fitted tokenizer, which pools as it did, whatever its model's folder says today."""
        spec = self.text_encoder_spec
        pooling = pooling_of(self.text_encoder_revision) if spec.encoder == "nemotron" else None
        return msgspec.structs.replace(spec, pooling=pooling)

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "TokenizerConfig":
        """Check settings read from YAML; :class:`ConfigError` names an unknown key and the choices."""
        unknown = sorted(set(settings) - set(cls.__struct_fields__))
        if unknown:
            raise ConfigError(
                f"unknown tokenizer setting {unknown[0]!r}; the choices are {', '.join(cls.__struct_fields__)}"
            )
        if "text_encoder_revision" in settings:
            raise ConfigError("text_encoder_revision: fitting writes it; pin a model with text_model_revision")
        config = cls.from_state(settings)
        config.check_choices()
        return config

    def check_choices(self) -> None:
        """Raise :class:`ConfigError` for settings that contradict one another, are too small or would do nothing."""
        for setting, least in LEAST.items():
            if (value := getattr(self, setting)) is not None and value < least:
                raise ConfigError(f"{setting}: expected at least {least}, got {value}")
        first: dict[str, str] = {}
        for setting in FIELD_LISTS:
            for name in getattr(self, setting):
                if name in first:
                    other = f"twice in {setting}" if first[name] == setting else f"in {first[name]} and in {setting}"
                    raise ConfigError(f"the field {name!r} is {other}; name it once")
                first[name] = setting
        defaults = type(self)()
        idle = [name for name in TEXT_BRANCH if getattr(self, name) != getattr(defaults, name)]
        if idle and not self.embeds_text:
            raise ConfigError(
                f"{', '.join(idle)}: does nothing with text_value_mode: bpe; set text_value_mode: embed or leave it out"
            )
        idle = [name for name in idle if name not in ("text_encoder", "text_encoder_dim")]
        if idle and self.text_encoder_spec.encoder in WITHOUT_MODEL:
            raise ConfigError(
                f"{', '.join(idle)}: does nothing with text_encoder: {self.text_encoder_spec.encoder}, which has no "
                "model; leave it out, or choose another encoder"
            )

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "TokenizerConfig":
        """Read a saved tokenizer's settings, ours or the upstream toolkit's; keys that only it knows do not matter."""
        try:
            config = msgspec.convert(state, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"tokenizer settings: {error}") from None
        timezone_of(config.calendar_tz)
        PLAUSIBLE.with_bounds(config.earliest_time, None)
        return config
