"""A row's inputs must be what the served path makes of the same record, and nothing later may touch them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.finetune.inputs import ROWS_PER_CALL, CountedKeys, HeadInputs, head_inputs, row_features
from pragmatiq_builder.finetune.labels import Kind, LabelledRows
from pragmatiq_triton.batch import Float32, collate
from pragmatiq_triton.records import Record, decode_record
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.text_encoders import create_text_encoder
from pragmatiq_triton.tokenizer import Tokenizer
from tests.builder.finetune.customers import (
    CONFIGS,
    HOUR,
    N_EVENTS,
    Event,
    Profile,
    exported_once,
    history,
    make_data,
    make_network,
    profile_of,
    record_json,
    with_amounts,
    write,
)

N_USERS, MOST = 9, 10
EVENTS = with_amounts([event for user in range(N_USERS) for event in history(user, N_EVENTS)])


@pytest.fixture(scope="module", params=["bpe", "embed"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TokenizedDataset:
    """Histories that are longer than what the tokenizer keeps of them."""
    config = msgspec.structs.replace(CONFIGS[request.param], max_events_per_user=MOST, numeric_min_cardinality=50)
    return make_data(tmp_path_factory.mktemp(request.param), EVENTS, config)


@pytest.fixture(scope="module")
def scorer(data: TokenizedDataset) -> Scorer:
    with exported_once(make_network(data)) as scorer:
        return scorer


def rows_of(kind: Kind, pairs: list[tuple[int, int]]) -> LabelledRows:
    users, at = np.array(pairs, np.int64).T
    return LabelledRows(kind, users, at, np.zeros(len(at), np.int8), {})


def every_moment(data: TokenizedDataset, kind: Kind) -> LabelledRows:
    """All moments of user 1, more than one call takes, and some of each other, out of order."""
    later = 1 if kind == "user" else 0
    pairs = [
        (user, int(at) + later * shift)
        for user in range(data.n_users)
        for i, at in enumerate(np.unique(data.event_times(user)))
        for shift in ((1, 900 * HOUR) if kind == "user" and i % 5 == 0 else (1,))
        if user == 1 or i % 4 == user % 4
    ]
    return rows_of(kind, [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))])


def served_record(kind: Kind, user: int, at: int, newest: int | None = None) -> Record:
    """As a caller sends it: whole with ``eval_ts``, or cut by hand: what lies before ``at`` and one event."""
    name = f"u{user}"
    attributes, milestones = profile_of(user) or ({}, [])
    seen = [event for event in EVENTS if event[0] == name and event[1] < at]
    if kind == "event":
        seen.append([event for event in EVENTS if event[:2] == (name, at)][-1])
        profile = (attributes, [milestone for milestone in milestones if milestone[1] < at])
        return decode_record(record_json(seen[-newest:] if newest else seen, name, profile, as_of=at))
    events = seen[-newest:] if newest else EVENTS
    return decode_record(record_json(events, name, (attributes, milestones), eval_ts=at))


def served(data: TokenizedDataset, scorer: Scorer, record: Record) -> tuple[Float32, Float32, Float32]:
    """User embedding, event state and features as the server computes them."""
    user = Tokenizer(data.vocabulary, "wide")(record)
    vectors = np.zeros((0, scorer.text_dim), np.float32)
    if user.texts:
        vectors = create_text_encoder(data.config.text_encoder_spec).encode(user.texts)
    embeddings = scorer.embed(collate([user], [vectors], scorer.text_dim))
    return embeddings.user_embedding[0], embeddings.event_state[0], user.features


@pytest.mark.parametrize("kind", ["user", "event"])
def test_a_row_is_read_as_the_server_reads_its_record(data: TokenizedDataset, scorer: Scorer, kind: Kind) -> None:
    rows = every_moment(data, kind)
    assert np.count_nonzero(rows.users == 1) > ROWS_PER_CALL
    inputs = head_inputs(data, rows, scorer)
    lengths = set()
    for i, (user, at) in enumerate(zip(rows.users.tolist(), rows.at.tolist(), strict=True)):
        record = served_record(kind, int(data.user_ids[user][1:]), at)
        embedding, state, features = served(data, scorer, record)
        np.testing.assert_allclose(inputs.user_embedding[i], embedding, rtol=0, atol=1e-6)
        np.testing.assert_allclose(inputs.event_state[i], state, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(inputs.features[i], features)
        lengths.add(int(inputs.counts[i, 0]))
    assert min(lengths) < MOST < max(lengths)


@pytest.mark.parametrize("kind", ["user", "event"])
def test_max_events_cuts_what_the_network_reads_alone(data: TokenizedDataset, scorer: Scorer, kind: Kind) -> None:
    rows = every_moment(data, kind)
    whole, cut = head_inputs(data, rows, scorer), head_inputs(data, rows, scorer, max_events=3)
    np.testing.assert_array_equal(whole.features, cut.features)
    np.testing.assert_array_equal(whole.counts, cut.counts)
    for i in range(0, len(rows.at), 3):
        user, at = int(data.user_ids[rows.users[i]][1:]), int(rows.at[i])
        embedding, state, _ = served(data, scorer, served_record(kind, user, at, newest=3))
        np.testing.assert_allclose(cut.user_embedding[i], embedding, rtol=0, atol=1e-6)
        np.testing.assert_allclose(cut.event_state[i], state, rtol=0, atol=1e-6)
        longer = whole.counts[i, 0] > 3
        assert np.allclose(whole.user_embedding[i], cut.user_embedding[i], atol=1e-6) != longer


def test_more_events_than_the_tokenizer_keeps_are_never_read(data: TokenizedDataset, scorer: Scorer) -> None:
    rows = every_moment(data, "user")
    inputs = head_inputs(data, rows, scorer), head_inputs(data, rows, scorer, max_events=10 * MOST)
    np.testing.assert_array_equal(inputs[0].user_embedding, inputs[1].user_embedding)


planted_fields = st.fixed_dictionaries(
    {}, optional={"kind": st.sampled_from(["alarm", "new"]), "memo": st.text(max_size=9), "amount": st.just("1e9")}
)
planted = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from([0, 1, HOUR, 5000 * HOUR]),
        st.one_of(st.tuples(st.sampled_from(["app", "other"]), planted_fields), st.sampled_from(["moved", "wed"])),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("kind", ["user", "event"])
@settings(max_examples=30, deadline=None)
@given(planted=planted)
def test_what_comes_later_changes_no_bit(
    data: TokenizedDataset,
    scorer: Scorer,
    tmp_path_factory: pytest.TempPathFactory,
    kind: Kind,
    planted: list[tuple[int, int, Any]],
) -> None:
    moments = {user: int(data.event_times(data.user_ids.index(f"u{user}"))[5 + user]) for user in range(6)}
    events: list[Event] = list(EVENTS)
    profiles: dict[str, Profile] = {f"u{i}": profile for i in range(N_USERS) if (profile := profile_of(i))}
    for user, later, what in planted:
        name, ts = f"u{user}", moments[user] + (kind == "event") + later
        if isinstance(what, str):
            attributes, milestones = profiles.get(name, ({}, []))
            profiles[name] = (attributes, [*milestones, (what, ts)])
        else:
            events.append((name, ts, *what))

    def inputs_of(data: TokenizedDataset) -> HeadInputs:
        return head_inputs(
            data, rows_of(kind, [(data.user_ids.index(f"u{u}"), at) for u, at in moments.items()]), scorer
        )

    folder = tmp_path_factory.mktemp("planted")
    raw = write(folder / "raw", sorted(events, key=lambda event: event[:2]), profiles)
    tokenize(raw, folder / "tok", tokenizer_dir=data.tokenizer_dir)
    before, after = inputs_of(data), inputs_of(TokenizedDataset(folder / "tok"))
    for name in ("user_embedding", "event_state", "features", "counts"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=name)


def test_later_rows_of_the_same_user_change_an_earlier_one_by_rounding_at_most(
    data: TokenizedDataset, scorer: Scorer
) -> None:
    times = np.unique(data.event_times(0)).tolist()
    alone = head_inputs(data, rows_of("event", [(0, times[12])]), scorer)
    among = head_inputs(data, rows_of("event", [(0, times[20]), (0, times[12]), (0, times[2])]), scorer)
    np.testing.assert_array_equal(alone.features[0], among.features[1])
    np.testing.assert_array_equal(alone.counts[0], among.counts[1])
    np.testing.assert_allclose(alone.user_embedding[0], among.user_embedding[1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(alone.event_state[0], among.event_state[1], rtol=0, atol=1e-6)


def test_raw_counts_are_those_of_the_raw_events(data: TokenizedDataset) -> None:
    fields = [each[3] for each in EVENTS if each[0] == "u4"]
    names = data.vocabulary.state["key_vocab"]
    expected = {name: sum(name in each for each in fields) for name in names} | {"source": len(fields)}
    counts = CountedKeys(data)(data.encoded(data.user_ids.index("u4")))
    by_id = sorted(names, key=names.__getitem__)
    assert counts[: 1 + len(names)].tolist() == [N_EVENTS, *(expected[name] for name in by_id)]
    assert counts[1 + len(names) :].tolist() == [N_EVENTS]


@pytest.mark.parametrize("kind", ["user", "event"])
def test_features_alone_are_those_beside_the_network(data: TokenizedDataset, scorer: Scorer, kind: Kind) -> None:
    rows = every_moment(data, kind)
    inputs = head_inputs(data, rows, scorer)
    np.testing.assert_array_equal(row_features(data, rows, "wide"), inputs.features)
    recency = Tokenizer(data.vocabulary, "wide").features.names.index("recency")
    np.testing.assert_array_equal(row_features(data, rows, "recency"), inputs.features[:, [recency]])
    assert row_features(data, rows, "none").shape == (len(rows.at), 0)


@pytest.fixture
def inputs() -> HeadInputs:
    return HeadInputs(*(np.arange(6, dtype=np.float32).reshape(3, 2) + i for i in range(4)))


def test_kept_inputs_come_back_for_their_key_alone(inputs: HeadInputs, tmp_path: Path) -> None:
    inputs.save(tmp_path / "kept.npz", "a key")
    loaded = HeadInputs.load(tmp_path / "kept.npz", "a key")
    assert loaded is not None
    np.testing.assert_array_equal(loaded.counts, inputs.counts)
    np.testing.assert_array_equal(loaded.rows(np.array([2, 0])).features, inputs.features[[2, 0]])
    assert HeadInputs.load(tmp_path / "kept.npz", "another key") is None
    assert HeadInputs.load(tmp_path / "none.npz", "a key") is None


@pytest.mark.parametrize("damage", [lambda raw: raw[:-40], lambda raw: b"", lambda raw: b"not a zip", bytes.upper])
def test_kept_inputs_that_cannot_be_read_are_as_good_as_none(
    inputs: HeadInputs, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "kept.npz"
    inputs.save(path, "a key")
    path.write_bytes(damage(path.read_bytes()))
    assert HeadInputs.load(path, "a key") is None
