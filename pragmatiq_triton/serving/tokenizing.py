"""The first stage: raw JSON records become tokens, times and distinct strings."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from pragmatiq_triton.batch import UserFeatures
from pragmatiq_triton.errors import ConfigError, RecordError
from pragmatiq_triton.records import RecordLimits, decode_record
from pragmatiq_triton.serving.stage import Answer
from pragmatiq_triton.tensors import RECORD, Arrays, pack_texts, pack_users
from pragmatiq_triton.tokenizer import Tokenizer
from pragmatiq_triton.tokenizer.features import FeatureLevel


class TokenizerStage:
    """Reads ``record`` BYTES [users, 1]."""

    def __init__(self, tokenizer: Tokenizer, limits: RecordLimits = RecordLimits()) -> None:
        self._tokenizer = tokenizer
        self._limits = limits

    @classmethod
    def load(cls, folder: Path, parameters: dict[str, str]) -> "TokenizerStage":
        """The tokenizer in ``folder``, with the limits and the features that the model's parameters set."""
        known = RecordLimits.__struct_fields__
        level = parameters.get("features", "none")
        if level not in get_args(FeatureLevel):
            raise ConfigError(f"features in config.pbtxt: expected one of {get_args(FeatureLevel)}, got {level!r}")
        try:
            limits = RecordLimits(**{name: int(value) for name, value in parameters.items() if name in known})
        except ValueError as error:
            raise ConfigError(f"a limit in config.pbtxt: expected a whole number: {error}") from None
        return cls(Tokenizer.load(folder, cast(FeatureLevel, level)), limits)

    def __call__(self, requests: Sequence[Arrays]) -> list[Answer]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Arrays) -> Answer:
        users: list[UserFeatures] = []
        for row, raw in enumerate(request[RECORD].reshape(-1)):
            try:
                users.append(self._tokenizer(decode_record(raw, self._limits)))
            except RecordError as error:
                return RecordError(f"row {row}: {error.path}", error.problem)
        answer = pack_users(users)
        return {**answer, **pack_texts(users)} if self._tokenizer.config.embeds_text else answer
