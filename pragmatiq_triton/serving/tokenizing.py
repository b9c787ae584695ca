"""The first stage: raw JSON records become tokens, times, fingerprints and distinct strings."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import cast, get_args

from msgspec.structs import asdict

from pragmatiq_triton.batch import UserFeatures
from pragmatiq_triton.cache_folder import cache_folder
from pragmatiq_triton.errors import ConfigError, RecordError
from pragmatiq_triton.fingerprints import Fingerprints, secret
from pragmatiq_triton.records import RecordLimits
from pragmatiq_triton.serving.metrics import Sample, cache_samples
from pragmatiq_triton.serving.stage import Answer, Reply, Stage, whole_number
from pragmatiq_triton.tensors import RECORD, Arrays, pack_texts, pack_users
from pragmatiq_triton.tokenizer import Tokenizer
from pragmatiq_triton.tokenizer.cached import CachedTokenizer
from pragmatiq_triton.tokenizer.features import FeatureLevel

DEFAULT_CACHE_BYTES = 128 * 1024 * 1024


class TokenizerStage(Stage):
    """Reads ``record`` BYTES [users, 1]."""

    def __init__(self, tokenizer: CachedTokenizer) -> None:
        self._tokenizer = tokenizer
        self._seconds = {"read": 0.0, "tokenize": 0.0, "pack": 0.0}
        self._n_requests = 0

    @classmethod
    def load(cls, folder: Path, parameters: dict[str, str]) -> "TokenizerStage":
        """The tokenizer in ``folder``, with the limits, the features and the cache that the model's parameters set."""
        return cls(load_tokenizer(folder, parameters, cache_folder()))

    def submit(self, requests: Sequence[Arrays], replies: Sequence[Reply]) -> None:
        for request, reply in zip(requests, replies, strict=True):
            reply(self._answer(request))

    def samples(self) -> list[Sample]:
        totals = self._tokenizer.totals
        cut = {
            "events": totals.cut_events,
            "event_tokens": totals.cut_event_tokens,
            "profile_tokens": totals.cut_profile_tokens,
        }
        return [
            *cache_samples("records", self._tokenizer.events),
            *cache_samples("profiles", self._tokenizer.profiles),
            Sample("pragmatiq_events_total", totals.events),
            Sample("pragmatiq_tokens_total", totals.tokens),
            Sample("pragmatiq_unknown_tokens_total", totals.unknown_tokens),
            *(Sample("pragmatiq_truncations_total", value, {"part": part}) for part, value in cut.items()),
            *(Sample("pragmatiq_stage_seconds_total", value, {"stage": name}) for name, value in self._seconds.items()),
            *(Sample("pragmatiq_stage_runs_total", self._n_requests, {"stage": name}) for name in self._seconds),
        ]

    def _answer(self, request: Arrays) -> Answer:
        users: list[UserFeatures] = []
        for row, raw in enumerate(request[RECORD].reshape(-1)):
            started = perf_counter()
            split = self._tokenizer.split(raw)
            read = perf_counter()
            try:
                users.append(self._tokenizer.tokenize(raw, split))
            except RecordError as error:
                return RecordError(f"row {row}: {error.path}", error.problem)
            self._seconds["read"] += read - started
            self._seconds["tokenize"] += perf_counter() - read
        started = perf_counter()
        answer = pack_users(users)
        if self._tokenizer.config.embeds_text:
            answer |= pack_texts(users)
        self._seconds["pack"] += perf_counter() - started
        self._n_requests += 1
        return answer


def load_tokenizer(folder: Path, parameters: dict[str, str], secrets: Path | None) -> CachedTokenizer:
    """The tokenizer in ``folder`` as ``parameters`` say, with the fingerprints' secret of the folder ``secrets``."""
    level = parameters.get("features", "none")
    if level not in get_args(FeatureLevel):
        raise ConfigError(f"features in config.pbtxt: expected one of {get_args(FeatureLevel)}, got {level!r}")
    limits = {name: whole_number(parameters, name, default) for name, default in asdict(RecordLimits()).items()}
    cache_bytes = whole_number(parameters, "record_cache_bytes", DEFAULT_CACHE_BYTES)
    tokenizer = Tokenizer.load(folder, cast(FeatureLevel, level))
    return CachedTokenizer(tokenizer, RecordLimits(**limits), cache_bytes, Fingerprints(secret(secrets)))
