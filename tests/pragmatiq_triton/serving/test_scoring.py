"""The newest events of a history, and a scorer that reads no others."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.batch import Event, Token, UserFeatures, newest_events
from pragmatiq_triton.errors import ConfigError, NotFiniteError
from pragmatiq_triton.records import decode_record
from pragmatiq_triton.scorer import Embeddings
from pragmatiq_triton.serving.scoring import ScorerStage
from pragmatiq_triton.tensors import pack_users
from pragmatiq_triton.tokenizer import Tokenizer
from tests.conftest import RECORDS


def user_of(token_counts):
    """Every token names its event, every event its number."""
    tokens = np.repeat(np.arange(len(token_counts)), token_counts)
    events = np.zeros((len(token_counts), 5), np.float32)
    events[:, Event.TOKENS] = token_counts
    events[:, Event.HOUR] = np.arange(len(token_counts))
    columns = np.tile(tokens[:, np.newaxis], 4).astype(np.int32)
    columns[:, Token.TEXT] = -1
    return UserFeatures(columns, events, np.ones((2, 3), np.int32), np.ones(2, np.float32), ("a", "b"))


@given(st.lists(st.integers(1, 5), max_size=8), st.integers(1, 10))
def test_the_newest_events_keep_their_tokens(token_counts, most):
    user = user_of(token_counts)
    kept = newest_events(user, most)
    numbers = list(range(len(token_counts)))[-most:]
    assert kept.events[:, Event.HOUR].tolist() == numbers
    assert kept.tokens[:, Token.KEY].tolist() == [event for event in numbers for _ in range(token_counts[event])]
    assert kept.texts == user.texts
    assert kept.profile is user.profile


def with_keys(user):
    """The user with a key for each event; here none is like another."""
    keys = np.random.default_rng(len(user.events)).integers(0, 2**63, (len(user.events), 2), np.uint64)
    return replace(user, event_keys=keys)


@pytest.mark.parametrize("max_events", ["1", "3", "0", "999"])
def test_a_scorer_reads_its_newest_events_of_each_user(repository, run, variant, max_events):
    if variant == "embed":
        vectors = np.random.default_rng(0).normal(size=(2, 40, run.network.config.text_dim)).astype(np.float32)
        texts = {"text_vectors": vectors}
    else:
        texts = {}
    tokenizer = Tokenizer(run.vocabulary)
    records = [json.loads(raw) for raw in (RECORDS[11], RECORDS[4])]
    users = [with_keys(tokenizer(decode_record(json.dumps(record).encode()))) for record in records]
    whole, limited = (
        ScorerStage.load(repository / "scorer" / "1", {"threads": "1", "max_events": most})
        for most in ("0", max_events)
    )
    (answer,) = limited([{**pack_users(users), **texts}])
    shortened = [newest_events(user, int(max_events) or 10_000) for user in users]
    (expected,) = whole([{**pack_users(shortened), **texts}])
    np.testing.assert_allclose(answer["embedding"], expected["embedding"], rtol=0, atol=1e-6)
    (unlimited,) = whole([{**pack_users(users), **texts}])
    cut = 0 < int(max_events) < min(len(user.events) for user in users)
    assert cut == (np.abs(unlimited["embedding"] - answer["embedding"]).max() > 1e-3)


class Told:
    """Heads that answer what they are told to, whatever they read."""

    def __init__(self, *scores):
        self._scores = np.array(scores, np.float32)

    def __call__(self, embeddings, features):
        return np.tile(self._scores, (len(features), 1))


@pytest.mark.parametrize(
    ("scores", "broken", "named"),
    [
        ((0.2, 0.5), "user_embedding", "user_embedding: 1 of 1 rows hold NaN"),
        ((0.2, 0.5), "event_state", "event_state: 1 of 1 rows hold NaN"),
        ((np.inf, np.nan), None, "scores: fraud, churn: not finite"),
        ((0.2, np.nan), None, "scores: churn: not finite"),
        ((0.2, 0.5), None, None),
    ],
)
def test_what_is_not_finite_is_no_answer(scores, broken, named):
    """Heads take a NaN for unknown, so that an embedding of NaN would leave as a probability."""
    stage = ScorerStage.__new__(ScorerStage)
    stage._heads, stage._tasks = Told(*scores), np.array([b"fraud", b"churn"], np.object_)
    found = Embeddings(*np.zeros((2, 1, 4), np.float32))
    if broken:
        getattr(found, broken)[0, 2] = np.nan
    if named is None:
        np.testing.assert_allclose(stage._finite_scores(found, np.zeros((1, 0))), [scores])
        return
    with pytest.raises(NotFiniteError, match=named):
        stage._finite_scores(found, np.zeros((1, 0)))


@pytest.mark.parametrize("value", ["-1", "many", "1.5", ""])
def test_a_limit_that_is_no_number_is_named(repository, value):
    with pytest.raises(ConfigError, match="max_events in config"):
        ScorerStage.load(repository / "scorer" / "1", {"max_events": value})
