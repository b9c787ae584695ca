"""The first stage: raw JSON records become tokens, times, fingerprints and distinct strings."""

from collections.abc import Generator, Sequence
from pathlib import Path
from time import perf_counter

from pragmatiq_triton.batch import UserFeatures
from pragmatiq_triton.cache.fingerprints import Fingerprints, secret
from pragmatiq_triton.cache.folder import cache_folder
from pragmatiq_triton.drain import Drain
from pragmatiq_triton.errors import ConfigError, RecordError, StoppingError
from pragmatiq_triton.serving.metrics import Sample, cache_samples, time_samples
from pragmatiq_triton.serving.parameters import TokenizerParameters, read_parameters
from pragmatiq_triton.serving.stage import Answer, Reply, Stage, terms_of
from pragmatiq_triton.serving.terms import Terms
from pragmatiq_triton.serving.turns import Turns, Work, while_waited_for
from pragmatiq_triton.tensors import RECORD, Arrays, pack_texts, pack_users
from pragmatiq_triton.tokenizer import Tokenizer
from pragmatiq_triton.tokenizer.cached import CachedTokenizer
from pragmatiq_triton.tokenizer.own_features import OwnFeatures

LONG_BYTES = 256 * 1024
"""Of a request's records from which on it waits for its turn: cutting it at its events takes a millisecond."""


class TokenizerStage(Stage):
    """Reads ``record`` BYTES [users, 1]; takes none any more once the server stops, as ``drain`` says.

    Requests are answered one after the other; those that take longer than a few milliseconds take turns.
    """

    grace_seconds = 0.0

    def __init__(self, tokenizer: CachedTokenizer, drain: Drain = Drain()) -> None:
        self._tokenizer = tokenizer
        self._drain = drain
        self._turns = Turns()
        self._seconds = {"read": 0.0, "tokenize": 0.0, "pack": 0.0}
        self._n_requests = 0

    @classmethod
    def load(cls, folder: Path, parameters: dict[str, str]) -> "TokenizerStage":
        """The tokenizer in ``folder``, with the limits, the features and the cache that the model's parameters set."""
        return cls(load_tokenizer(folder, parameters, cache_folder()), Drain.of_process())

    def submit(
        self,
        requests: Sequence[Arrays],
        replies: Sequence[Reply],
        *,
        counted: bool = True,
        terms: Sequence[Terms] = (),
    ) -> None:
        stopping = StoppingError("the server is stopping: ask another one") if self._drain else None
        for request, reply, its in zip(requests, replies, terms_of(requests, terms), strict=True):
            if stopping:
                reply(stopping)
                continue
            is_long = sum(map(len, request[RECORD].reshape(-1))) > LONG_BYTES
            (self._turns.later if is_long else self._turns.run)(self._work(request, reply, counted, its))

    def close(self) -> None:
        self._turns.close()

    def samples(self) -> list[Sample]:
        totals = self._tokenizer.totals
        cut = {
            "events": totals.cut_events,
            "event_tokens": totals.cut_event_tokens,
            "profile_tokens": totals.cut_profile_tokens,
            "text_characters": totals.unread_characters,
        }
        pieces = self._tokenizer.pieces
        return [
            *cache_samples("records", self._tokenizer.events),
            *cache_samples("profiles", self._tokenizer.profiles),
            *(cache_samples("pieces", pieces) if pieces is not None else []),
            Sample("pragmatiq_events_total", totals.events),
            Sample("pragmatiq_tokens_total", totals.tokens),
            Sample("pragmatiq_unknown_tokens_total", totals.unknown_tokens),
            *(
                Sample("pragmatiq_missing_features_total", value, {"feature": name})
                for name, value in self._tokenizer.own.missing.items()
            ),
            Sample("pragmatiq_unknown_features_total", self._tokenizer.own.unknown),
            *(Sample("pragmatiq_truncations_total", value, {"part": part}) for part, value in cut.items()),
            *time_samples("stage", self._seconds, dict.fromkeys(self._seconds, self._n_requests)),
        ]

    def _work(self, request: Arrays, reply: Reply, counted: bool, terms: Terms) -> Work:
        """Answers ``request``; whatever a record brings about stays with its request."""
        try:
            answer: Answer = yield from while_waited_for(self._answer(request, counted), terms)
        except Exception as error:
            answer = error
        reply(answer)

    def _answer(self, request: Arrays, counted: bool) -> Generator[None, None, Answer]:
        raws = request[RECORD].reshape(-1)
        if not len(raws):
            return RecordError(RECORD, "expected at least one record, got none")
        users: list[UserFeatures] = []
        seconds = dict.fromkeys(self._seconds, 0.0)
        for row, raw in enumerate(raws):
            started = perf_counter()
            # Not cut, it is read whole, past the caches that would count it.
            split = self._tokenizer.split(raw) if counted else None
            read = perf_counter()
            if len(raw) > LONG_BYTES:
                yield
            try:
                users.append((yield from self._tokenizer.steps(raw, split)))
            except RecordError as error:
                return RecordError(f"row {row}: {error.path}", error.problem)
            seconds["read"] += read - started
            seconds["tokenize"] += perf_counter() - read
            yield
        started = perf_counter()
        answer = pack_users(users)
        if self._tokenizer.config.embeds_text:
            answer |= pack_texts(users)
        seconds["pack"] += perf_counter() - started
        if counted:
            self._n_requests += 1
            for name, value in seconds.items():
                self._seconds[name] += value
        return answer


def load_tokenizer(folder: Path, parameters: dict[str, str], secrets: Path | None) -> CachedTokenizer:
    """The tokenizer in ``folder`` as ``parameters`` say, with the fingerprints' secret of the folder ``secrets``."""
    its = read_parameters(TokenizerParameters, parameters)
    tokenizer = Tokenizer.load(folder, its.features, OwnFeatures.of_parameter(its.own_features))
    try:
        times = tokenizer.vocabulary.times.with_bounds(its.earliest_time, its.latest_time)
    except ConfigError as error:
        raise ConfigError(f"config.pbtxt: {error}") from None
    return CachedTokenizer(tokenizer, its.limits, its.record_cache_bytes, Fingerprints(secret(secrets)), times)
